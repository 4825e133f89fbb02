import type { PipelineState } from "@systole/client";
import { useEffect } from "preact/hooks";
import { queries } from "../../api/http.ts";
import { milliseconds, rate } from "../../format/numbers.ts";
import { nodeName } from "../../state/directory.ts";
import { readPasts } from "../../state/hosts.ts";
import { latestOf, liveVersion, pointsOf } from "../../state/live.ts";
import type { PipelineRow } from "../../state/pipelines.ts";
import { nodeLink } from "../../state/route.ts";
import { canOperate, environment } from "../../state/session.ts";
import { rankOf, toneOf } from "../../state/status.ts";
import { Sparkline } from "../../ui/sparkline.tsx";
import { Status } from "../../ui/status.tsx";
import { type Column, Table } from "../../ui/table.tsx";
import { Ago } from "../../ui/time.tsx";
import { useQuery } from "../../ui/use_query.ts";
import { RestartButton } from "../node/pipelines.tsx";

const REFRESH_MS = 20_000;
/** Sparklines that begin with the last minutes: each is a query. */
const MAX_PASTS = 20;

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
  const last = (row: PipelineState) => latestOf(row.nodeId, row.pipelineId)?.sample;
  const columns: Column<PipelineState>[] = [
    { id: "state", title: "State", cell: (row) => <Status status={row.status} title={row.reason} /> },
    {
      id: "name",
      title: "Node",
      cell: (row) => (
        <div class="two-lines">
          <a href={nodeLink(row.nodeId)}>{nameOf(row)}</a>
          {row.reason !== "" && <span class="reason-line">{row.reason}</span>}
        </div>
      ),
    },
    {
      id: "in",
      title: "Events in",
      align: "right",
      cell: (row) => (
        <span class="spark-cell">
          <Sparkline values={pointsOf(row.nodeId, row.pipelineId).map((point) => point.in)} places={60} />
          <span class="number">{rate(last(row)?.receivedEventsRate)}</span>
        </span>
      ),
    },
    {
      id: "out",
      title: "Events out",
      align: "right",
      width: 2,
      cell: (row) => <span class="number">{rate(last(row)?.sentEventsRate)}</span>,
    },
    {
      id: "errors",
      title: "Errors",
      align: "right",
      width: 2,
      cell: (row) => (
        <span class={(last(row)?.errorsRate ?? 0) > 0 ? "number tone-bad" : "number faint"}>
          {rate(last(row)?.errorsRate)}
        </span>
      ),
    },
    {
      id: "latency",
      title: "Latency",
      align: "right",
      width: 3,
      cell: (row) => <span class="number">{milliseconds(last(row)?.latencyMeanMs)}</span>,
    },
    {
      id: "version",
      title: "Version",
      align: "right",
      width: 3,
      cell: (row) => <span class="number faint">{byNode.get(row.nodeId)?.version ?? "–"}</span>,
    },
    {
      id: "restarts",
      title: "Restarts",
      align: "right",
      width: 3,
      cell: (row) => <span class="number faint">{byNode.get(row.nodeId)?.restarts ?? "–"}</span>,
    },
    {
      id: "since",
      title: "Since",
      align: "right",
      width: 2,
      cell: (row) => (
        <span class="faint">
          <Ago at={row.since} />
        </span>
      ),
    },
  ];
  if (canOperate.value) {
    columns.push({
      id: "actions",
      title: "",
      align: "right",
      cell: (row) => (
        <RestartButton id={row.pipelineId} name={`${pipeline.name} on ${nameOf(row)}`} node={row.nodeId} />
      ),
    });
  }
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
