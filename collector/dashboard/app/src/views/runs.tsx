/** A pipeline on a node as a row: on the page of a node its pipelines, on the page of a pipeline its nodes. */

import type { PipelineOnNode } from "@systole/client";
import type { ComponentChildren } from "preact";
import { restartPipeline } from "../api/control.ts";
import { milliseconds, rate } from "../format/numbers.ts";
import { latestOf, pointsOf } from "../state/live.ts";
import { report } from "../state/notices.ts";
import { canOperate } from "../state/session.ts";
import { ask } from "../ui/dialog.tsx";
import { Sparkline } from "../ui/sparkline.tsx";
import { Status } from "../ui/status.tsx";
import type { Column } from "../ui/table.tsx";
import { Ago } from "../ui/time.tsx";
import { Trouble } from "./trouble.tsx";

/** Sparklines that begin with the last minutes: each is a query. */
export const MAX_PASTS = 20;

export interface RunColumns {
  /** What the second column names: the pipeline, or the node. */
  title: string;
  name: (row: PipelineOnNode) => ComponentChildren;
  /** What a question before a restart names. */
  subject: (row: PipelineOnNode) => string;
  /** Beside the button that restarts. */
  actions?: (row: PipelineOnNode) => ComponentChildren;
}

export function runColumns({ title, name, subject, actions }: RunColumns): Column<PipelineOnNode>[] {
  const last = (row: PipelineOnNode) => latestOf(row.nodeId, row.pipelineId)?.sample;
  const columns: Column<PipelineOnNode>[] = [
    { id: "state", title: "State", cell: (row) => <Status status={row.status} title={row.reason} /> },
    {
      id: "name",
      title,
      cell: (row) => (
        <div class="two-lines">
          {name(row)}
          {row.reason !== "" && (
            <span class="reason-line" title={row.reason}>
              {row.reason}
            </span>
          )}
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
      cell: (row) => <Trouble value={last(row)?.errorsRate} tone="bad" />,
    },
    {
      id: "discarded",
      title: "Discarded",
      align: "right",
      width: 3,
      cell: (row) => <Trouble value={last(row)?.discardedRate} tone="warn" />,
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
      cell: (row) => <span class="number faint">{row.version ?? "–"}</span>,
    },
    {
      id: "restarts",
      title: "Restarts",
      align: "right",
      width: 3,
      cell: (row) => <span class="number faint">{row.restarts}</span>,
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
  if (actions === undefined && !canOperate.value) return columns;
  columns.push({
    id: "actions",
    title: "",
    heading: <span class="visually-hidden">Actions</span>,
    align: "right",
    cell: (row) => (
      <span class="row-actions">
        {actions?.(row)}
        {canOperate.value && <RestartButton id={row.pipelineId} name={subject(row)} node={row.nodeId} />}
      </span>
    ),
  });
  return columns;
}

function RestartButton({ id, name, node }: { id: string; name: string; node: string }) {
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
