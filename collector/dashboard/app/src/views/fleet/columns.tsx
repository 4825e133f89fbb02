/** What the table of nodes shows of each. */

import { percent, rate } from "../../format/numbers.ts";
import { detailsOf } from "../../state/directory.ts";
import { hostOf } from "../../state/hosts.ts";
import { isFresh, lastSeenOf, pointsOf } from "../../state/live.ts";
import { nodeLink, pipelineLink } from "../../state/route.ts";
import { toneOf, wordOf } from "../../state/status.ts";
import { Sparkline } from "../../ui/sparkline.tsx";
import { Shape, ToneWord } from "../../ui/status.tsx";
import type { Column } from "../../ui/table.tsx";
import { Ago } from "../../ui/time.tsx";
import { Trouble } from "../trouble.tsx";
import { memoryOf, type NodeRow } from "./model.ts";

interface Sum {
  at: number;
  in: number;
  out: number;
  errors: number;
}

/** Sums over a node's pipelines, by report: reports of one node have one time. */
function sums(row: NodeRow): Sum[] {
  const byTime = new Map<number, Sum>();
  for (const { pipelineId } of row.pipelines) {
    for (const { at, in: received, out, errors } of pointsOf(row.id, pipelineId)) {
      const sum = byTime.get(at) ?? { at, in: 0, out: 0, errors: 0 };
      sum.in += received;
      sum.out += out;
      sum.errors += errors;
      byTime.set(at, sum);
    }
  }
  return [...byTime.values()].sort((one, other) => one.at - other.at);
}

/** The last sum, while it says something about now. */
function lastOf(all: readonly Sum[]): Sum | undefined {
  const last = all.at(-1);
  return last !== undefined && isFresh(last.at) ? last : undefined;
}

const MAX_SHAPES = 10;

export const NODE_COLUMNS: readonly Column<NodeRow>[] = [
  {
    id: "state",
    title: "State",
    isSortable: true,
    cell: ({ tone, note, status }) => <ToneWord tone={tone} word={note === "" ? wordOf(status) : note} />,
  },
  {
    id: "name",
    title: "Node",
    isSortable: true,
    cell: (row) => {
      const details = detailsOf(row.id);
      const labels = Object.entries(details?.labels ?? {}).filter(
        ([name]) => !/^(os|arch|hostname$|vf\.io\/)/.test(name),
      );
      return (
        <div class="node-name">
          <a href={nodeLink(row.id)}>{row.name}</a>
          {details?.maintenance != null && <span class="label is-maintenance">maintenance</span>}
          <span class="labels">
            {labels.slice(0, 3).map(([name, value]) => (
              <span key={name} class="label" title={`${name}: ${value}`}>
                {value === "" ? name : `${name}:${value}`}
              </span>
            ))}
          </span>
        </div>
      );
    },
  },
  {
    id: "pipelines",
    title: "Pipelines",
    width: 2,
    cell: (row) => (
      <span class="pipeline-shapes" title={`${row.running} of ${row.pipelines.length} run`}>
        {row.pipelines.slice(0, MAX_SHAPES).map(({ pipelineId, pipelineName, status }) => (
          <a
            key={pipelineId}
            href={pipelineLink(pipelineId, { node: row.id })}
            aria-label={`${pipelineName}: ${wordOf(status)}`}
            title={`${pipelineName}: ${wordOf(status)}`}
          >
            <Shape tone={toneOf(status)} size={11} />
          </a>
        ))}
        {row.pipelines.length > MAX_SHAPES && <span class="faint">+{row.pipelines.length - MAX_SHAPES}</span>}
      </span>
    ),
  },
  {
    id: "in",
    title: "Events in",
    align: "right",
    width: 2,
    cell: (row) => <LiveRate sums={sums(row)} of="in" tone="accent" />,
  },
  {
    id: "out",
    title: "Events out",
    align: "right",
    width: 3,
    cell: (row) => <LiveRate sums={sums(row)} of="out" tone="accent-2" />,
  },
  {
    id: "errors",
    title: "Errors",
    align: "right",
    width: 3,
    cell: (row) => <Trouble value={lastOf(sums(row))?.errors} tone="bad" />,
  },
  {
    id: "cpu",
    title: "CPU",
    align: "right",
    width: 2,
    cell: (row) => {
      const cpu = hostOf(row.id)?.cpu ?? [];
      return (
        <span class="spark-cell">
          <Sparkline values={cpu} max={1} width={56} places={20} tone="series-3" />
          <span class="number">{percent(cpu.at(-1))}</span>
        </span>
      );
    },
  },
  {
    id: "memory",
    title: "Memory",
    align: "right",
    width: 3,
    isSortable: true,
    cell: (row) => {
      const share = hostOf(row.id)?.memory ?? memoryOf(row);
      if (share < 0) return <span class="faint">–</span>;
      return (
        <span class="spark-cell">
          <span class="meter" aria-hidden="true">
            <span
              class={share > 0.9 ? "fill-bad" : share > 0.8 ? "fill-warn" : "fill-quiet"}
              style={{ width: `${share * 100}%` }}
            />
          </span>
          <span class="number">{percent(share)}</span>
        </span>
      );
    },
  },
  {
    id: "seen",
    title: "Last report",
    align: "right",
    cell: (row) => <Ago at={Math.max(lastSeenOf(row.id) ?? 0, row.lastSeenAt ?? 0)} />,
  },
  {
    id: "version",
    title: "Agent",
    width: 3,
    align: "right",
    isSortable: true,
    cell: (row) => <span class="faint number">{detailsOf(row.id)?.agentVersion ?? "–"}</span>,
  },
];

function LiveRate({ sums: all, of, tone }: { sums: readonly Sum[]; of: "in" | "out"; tone: string }) {
  const last = lastOf(all)?.[of];
  return (
    <span class="spark-cell">
      <Sparkline
        values={all.map((sum) => sum[of])}
        width={72}
        places={60}
        tone={last === undefined || last === 0 ? "faint" : tone}
      />
      <span class="number">{rate(last)}</span>
    </span>
  );
}
