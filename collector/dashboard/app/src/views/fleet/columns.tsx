/** What the table of nodes shows of each. */

import type { FleetNode } from "@systole/client";
import { percent, rate } from "../../format/numbers.ts";
import { collectorNow } from "../../state/clock.ts";
import { nodeLink, pipelineLink } from "../../state/route.ts";
import { cpuLine, flowLine } from "../../state/sparks.ts";
import { toneOf, wordOf } from "../../state/status.ts";
import { Sparkline } from "../../ui/sparkline.tsx";
import { Shape, ToneWord } from "../../ui/status.tsx";
import type { Column } from "../../ui/table.tsx";
import { Ago } from "../../ui/time.tsx";
import { Trouble } from "../trouble.tsx";
import { memoryShare, pipelineName, stateOf } from "./model.ts";

const MAX_SHAPES = 10;
const MAX_LABELS = 3;
/** What the agent itself says of its host is on the page of the node. */
const OF_HOST = /^(os|arch|hostname$|vf\.io\/)/;

export const NODE_COLUMNS: readonly Column<FleetNode>[] = [
  {
    id: "state",
    title: "State",
    isSortable: true,
    cell: (node) => {
      const { tone, word } = stateOf(node);
      return <ToneWord tone={tone} word={word} title={node.statusReason} />;
    },
  },
  {
    id: "name",
    title: "Node",
    isSortable: true,
    cell: ({ id, name, labels, maintenanceUntil }) => (
      <div class="node-name">
        <a href={nodeLink(id)}>{name}</a>
        {maintenanceUntil != null && maintenanceUntil > collectorNow() && (
          <span class="label is-maintenance">maintenance</span>
        )}
        <span class="labels">
          {Object.entries(labels)
            .filter(([key]) => !OF_HOST.test(key))
            .slice(0, MAX_LABELS)
            .map(([key, value]) => (
              <span key={key} class="label" title={`${key}: ${value}`}>
                {value === "" ? key : `${key}:${value}`}
              </span>
            ))}
        </span>
      </div>
    ),
  },
  {
    id: "pipelines",
    title: "Pipelines",
    width: 2,
    cell: (node) => (
      <span class="pipeline-shapes" title={`${stateOf(node).running} of ${node.pipelines.length} run`}>
        {node.pipelines.slice(0, MAX_SHAPES).map((pipeline) => {
          const text = `${pipelineName(pipeline)}: ${wordOf(pipeline.status)}`;
          return (
            <a key={pipeline.id} href={pipelineLink(pipeline.id, { node: node.id })} aria-label={text} title={text}>
              <Shape tone={toneOf(pipeline.status)} size={11} />
            </a>
          );
        })}
        {node.pipelines.length > MAX_SHAPES && <span class="faint">+{node.pipelines.length - MAX_SHAPES}</span>}
      </span>
    ),
  },
  {
    id: "in",
    title: "Events in",
    align: "right",
    width: 2,
    isSortable: true,
    isHighFirst: true,
    cell: (node) => <Flow node={node} of="in" value={node.sample.eventsInRate} tone="accent" />,
  },
  {
    id: "out",
    title: "Events out",
    align: "right",
    width: 3,
    isSortable: true,
    isHighFirst: true,
    cell: (node) => <Flow node={node} of="out" value={node.sample.eventsOutRate} tone="accent-2" />,
  },
  {
    id: "errors",
    title: "Errors",
    align: "right",
    width: 3,
    isSortable: true,
    isHighFirst: true,
    cell: ({ sample }) => <Trouble value={sample.errorsRate} tone="bad" />,
  },
  {
    id: "discarded",
    title: "Discarded",
    align: "right",
    width: 3,
    cell: ({ sample }) => <Trouble value={sample.discardedRate} tone="warn" />,
  },
  {
    id: "cpu",
    title: "CPU",
    align: "right",
    width: 2,
    isSortable: true,
    isHighFirst: true,
    cell: ({ id, sample: { cpu } }) => (
      <span class="spark-cell">
        <Sparkline values={cpuLine(id)} max={1} width={56} places={20} tone="series-3" />
        <span class="number">{percent(cpu)}</span>
      </span>
    ),
  },
  {
    id: "memory",
    title: "Memory",
    align: "right",
    width: 3,
    isSortable: true,
    isHighFirst: true,
    cell: (node) => {
      const share = memoryShare(node);
      if (share === undefined) return <span class="faint">–</span>;
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
    isSortable: true,
    cell: ({ lastSeenAt }) => <Ago at={lastSeenAt} />,
  },
  {
    id: "version",
    title: "Agent",
    width: 3,
    align: "right",
    isSortable: true,
    cell: ({ agentVersion }) => <span class="faint number">{agentVersion ?? "–"}</span>,
  },
];

function Flow({
  node,
  of,
  value,
  tone,
}: {
  node: FleetNode;
  of: "in" | "out";
  value: number | null | undefined;
  tone: string;
}) {
  return (
    <span class="spark-cell">
      <Sparkline
        values={flowLine(node.id).map((sum) => sum[of])}
        width={72}
        places={60}
        tone={value ? tone : "faint"}
      />
      <span class="number">{rate(value)}</span>
    </span>
  );
}
