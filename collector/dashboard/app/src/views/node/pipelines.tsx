import type { PipelineOnNode } from "@systole/client";
import { liveVersion } from "../../state/live.ts";
import { link, pipelineLink } from "../../state/route.ts";
import { toneOf } from "../../state/status.ts";
import { Empty } from "../../ui/empty.tsx";
import { Table } from "../../ui/table.tsx";
import { runColumns } from "../runs.tsx";

export function NodePipelines({ runs }: { runs: readonly PipelineOnNode[] }) {
  // What the cells read.
  void liveVersion.value;
  if (runs.length === 0) {
    return (
      <div class="card">
        <Empty title="This node reports no pipeline" command="systole-agent check-config">
          Its agent's file has no section for one, or the agent has not reported yet.
        </Empty>
      </div>
    );
  }
  const columns = runColumns({
    title: "Pipeline",
    name: ({ nodeId, pipelineId, pipelineName }) => (
      <a href={pipelineLink(pipelineId, { node: nodeId })}>{pipelineName}</a>
    ),
    subject: ({ pipelineName }) => pipelineName,
    actions: ({ nodeId, pipelineId }) => (
      <a class="button small wide-only" href={link(["logs"], { node: nodeId, pipeline: pipelineId })}>
        Logs
      </a>
    ),
  });
  return (
    <Table
      label="Pipelines of this node"
      columns={columns}
      rows={runs}
      keyOf={(row) => row.pipelineId}
      classOf={(row) => `row-${toneOf(row.status)}`}
      rowHeight={46}
    />
  );
}
