import type { PipelineOnNode, PipelineState } from "@systole/client";
import { restartPipeline } from "../../api/control.ts";
import { milliseconds, rate } from "../../format/numbers.ts";
import { latestOf, liveVersion, pointsOf } from "../../state/live.ts";
import { report } from "../../state/notices.ts";
import { link, pipelineLink } from "../../state/route.ts";
import { canOperate } from "../../state/session.ts";
import { ask } from "../../ui/dialog.tsx";
import { Empty } from "../../ui/empty.tsx";
import { Sparkline } from "../../ui/sparkline.tsx";
import { Status } from "../../ui/status.tsx";
import { type Column, Table } from "../../ui/table.tsx";
import { Ago } from "../../ui/time.tsx";

export function NodePipelines({
  pipelines,
  details,
}: {
  pipelines: readonly PipelineState[];
  details: readonly PipelineOnNode[];
}) {
  // What the cells read.
  void liveVersion.value;
  if (pipelines.length === 0) {
    return (
      <div class="card">
        <Empty title="This node reports no pipeline" command="systole-agent check-config">
          Its agent's file has no section for one, or the agent has not reported yet.
        </Empty>
      </div>
    );
  }
  const byId = new Map(details.map((one) => [one.pipelineId, one]));
  return (
    <Table
      label="Pipelines of this node"
      columns={columns(byId)}
      rows={pipelines}
      keyOf={(row) => row.pipelineId}
      rowHeight={46}
    />
  );
}

function columns(details: ReadonlyMap<string, PipelineOnNode>): Column<PipelineState>[] {
  const last = (row: PipelineState) => latestOf(row.nodeId, row.pipelineId)?.sample;
  return [
    { id: "state", title: "State", cell: (row) => <Status status={row.status} title={row.reason} /> },
    {
      id: "name",
      title: "Pipeline",
      cell: (row) => (
        <div class="two-lines">
          <a href={pipelineLink(row.pipelineId, { node: row.nodeId })}>{row.pipelineName}</a>
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
      cell: (row) => <span class="number faint">{details.get(row.pipelineId)?.version ?? "–"}</span>,
    },
    {
      id: "restarts",
      title: "Restarts",
      align: "right",
      width: 3,
      cell: (row) => <span class="number faint">{details.get(row.pipelineId)?.restarts ?? 0}</span>,
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
    {
      id: "actions",
      title: "",
      align: "right",
      cell: (row) => (
        <span class="row-actions">
          <a class="button small wide-only" href={link(["logs"], { node: row.nodeId, pipeline: row.pipelineId })}>
            Logs
          </a>
          {canOperate.value && <RestartButton id={row.pipelineId} name={row.pipelineName} node={row.nodeId} />}
        </span>
      ),
    },
  ];
}

export function RestartButton({ id, name, node }: { id: string; name: string; node: string }) {
  return (
    <button
      type="button"
      class="small"
      onClick={() =>
        ask({
          title: `Restart ${name}?`,
          text: "The process is stopped in order and started again. What waits in its buffers on disk stays.",
          action: "Restart",
          act: () => restartPipeline(id, node),
          onDone: () => report(`${name} was restarted`),
        })
      }
    >
      Restart
    </button>
  );
}
