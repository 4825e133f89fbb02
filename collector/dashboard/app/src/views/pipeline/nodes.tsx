import type { PipelineState } from "@systole/client";
import { useEffect } from "preact/hooks";
import { queries } from "../../api/http.ts";
import { nodeName } from "../../state/directory.ts";
import { readPasts } from "../../state/hosts.ts";
import { liveVersion } from "../../state/live.ts";
import type { PipelineRow } from "../../state/pipelines.ts";
import { nodeLink } from "../../state/route.ts";
import { environment } from "../../state/session.ts";
import { rankOf, toneOf } from "../../state/status.ts";
import { Table } from "../../ui/table.tsx";
import { useQuery } from "../../ui/use_query.ts";
import { MAX_PASTS, runColumns } from "../runs.tsx";

const REFRESH_MS = 20_000;

/** Each node on its own, the worst first: a sum hides the one that stands still. */
export function NodesTable({ pipeline }: { pipeline: PipelineRow }) {
  const details = useQuery(
    `pipeline ${pipeline.id}`,
    (signal) => queries.pipeline(pipeline.id, { environment: environment.value }, { signal }),
    REFRESH_MS,
  );
  // What the cells read.
  void liveVersion.value;
  const byNode = new Map((details.data?.nodes ?? []).map((one) => [one.nodeId, one]));
  const nameOf = (row: PipelineState) => nodeName(row.nodeId);
  const rows = [...pipeline.on].sort(
    (one, other) =>
      rankOf(toneOf(one.status)) - rankOf(toneOf(other.status)) ||
      nameOf(one).localeCompare(nameOf(other), undefined, { numeric: true }),
  );
  useEffect(() => {
    for (const { nodeId, pipelineId } of rows.slice(0, MAX_PASTS).reverse())
      readPasts({ id: nodeId, pipelines: [{ pipelineId }] });
  }, [rows.length]);
  const columns = runColumns({
    title: "Node",
    name: (row) => <a href={nodeLink(row.nodeId)}>{nameOf(row)}</a>,
    detailsOf: ({ nodeId }) => byNode.get(nodeId),
    subject: (row) => `${pipeline.name} on ${nameOf(row)}`,
  });
  return (
    <Table
      label="Nodes of this pipeline"
      columns={columns}
      rows={rows}
      keyOf={(row) => row.nodeId}
      classOf={(row) => `row-${toneOf(row.status)}`}
      rowHeight={46}
    />
  );
}
