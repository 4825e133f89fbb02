import type { PipelineOnNode } from "@systole/client";
import { useEffect, useMemo, useState } from "preact/hooks";
import { clearQueue } from "../../state/background.ts";
import { liveVersion, watch } from "../../state/live.ts";
import { nodeLink } from "../../state/route.ts";
import { readPasts } from "../../state/sparks.ts";
import { rankOf, toneOf } from "../../state/status.ts";
import { Table } from "../../ui/table.tsx";
import { MAX_PASTS, runColumns } from "../runs.tsx";
import type { PipelineOnNodes } from "./model.ts";
import { areFollowed } from "./model.ts";

/** Each node on its own, the worst first: a sum hides the one that stands still. */
export function NodesTable({ pipeline }: { pipeline: PipelineOnNodes }) {
  const [visible, setVisible] = useState<readonly PipelineOnNode[]>([]);
  // What the cells read.
  void liveVersion.value;
  const rows = useMemo(
    () =>
      [...pipeline.on].sort(
        (one, other) =>
          rankOf(toneOf(one.status)) - rankOf(toneOf(other.status)) ||
          one.nodeName.localeCompare(other.nodeName, undefined, { numeric: true }),
      ),
    [pipeline.on],
  );
  useEffect(() => {
    clearQueue();
    for (const { nodeId, pipelineId } of visible.slice(0, MAX_PASTS).reverse()) readPasts(nodeId, [pipelineId]);
    // Of many nodes only those in view are followed.
    if (areFollowed(pipeline) || visible.length === 0) return;
    watch({
      pipelines: [pipeline.id],
      nodes: visible.map(({ nodeId }) => nodeId),
      pipelineCount: visible.length,
    });
  }, [visible]);
  const columns = runColumns({
    title: "Node",
    name: ({ nodeId, nodeName }) => <a href={nodeLink(nodeId)}>{nodeName}</a>,
    subject: ({ nodeName }) => `${pipeline.name} on ${nodeName}`,
  });
  return (
    <Table
      label="Nodes of this pipeline"
      columns={columns}
      rows={rows}
      keyOf={(row) => row.nodeId}
      classOf={(row) => `row-${toneOf(row.status)}`}
      rowHeight={46}
      onVisible={setVisible}
    />
  );
}
