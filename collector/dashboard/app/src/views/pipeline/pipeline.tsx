import type { EventOf, PipelineOnNode } from "@systole/client";
import type { ComponentType } from "preact";
import { useCallback, useEffect, useMemo } from "preact/hooks";
import { queries } from "../../api/http.ts";
import { plural } from "../../format/numbers.ts";
import { watch } from "../../state/live.ts";
import { link, pipelineLink, route, setQuery } from "../../state/route.ts";
import { useRuns } from "../../state/runs.ts";
import { environment } from "../../state/session.ts";
import { Failure, Loading } from "../../ui/empty.tsx";
import { Choice } from "../../ui/fields.tsx";
import { ToneWord } from "../../ui/status.tsx";
import { useQuery } from "../../ui/use_query.ts";
import { ChartsTab } from "./charts.tsx";
import { FlowTab } from "./flow.tsx";
import { LedgerTab } from "./ledger.tsx";
import { areFollowed, countStatuses, type PipelineOnNodes, summaryOf } from "./model.ts";
import { TapTab } from "./tap.tsx";
import { VersionsTab } from "./versions.tsx";

export interface TabProps {
  pipeline: PipelineOnNodes;
  /** The node that is chosen; undefined for all of them. */
  node: string | undefined;
}

const TABS: readonly { id: string; title: string; view: ComponentType<TabProps> }[] = [
  { id: "flow", title: "Flow", view: FlowTab },
  { id: "charts", title: "Charts", view: ChartsTab },
  { id: "ledger", title: "Ledger", view: LedgerTab },
  { id: "versions", title: "Versions", view: VersionsTab },
  { id: "tap", title: "Tap", view: TapTab },
];

/** Time between two readings, for each node: the answer has all of them. */
const REFRESH_MS_PER_NODE = 60;
const MIN_REFRESH_MS = 20_000;
const MAX_NODES_LISTED = 1_000;

export function PipelineView({ id }: { id: string }) {
  const { query } = route.value;
  const pipeline = usePipeline(id);
  const tab = TABS.find((one) => one.id === query.get("tab")) ?? TABS[0];
  const chosen = query.get("node") ?? undefined;
  const on: readonly PipelineOnNode[] = pipeline.data?.on ?? [];
  const node = on.some(({ nodeId }) => nodeId === chosen) ? chosen : undefined;
  const nodes = useMemo(
    () =>
      on
        .map(({ nodeId, nodeName }) => ({ value: nodeId, title: nodeName }))
        .sort((one, other) => one.title.localeCompare(other.title, undefined, { numeric: true }))
        .slice(0, MAX_NODES_LISTED),
    [on],
  );
  const name = pipeline.data?.name ?? id;
  useEffect(() => {
    document.title = `${name} · Systole`;
  }, [name]);
  const areAll = pipeline.data !== undefined && areFollowed(pipeline.data);
  useEffect(() => {
    if (node !== undefined) watch({ pipelines: [id], nodes: [node], pipelineCount: 1 });
    else if (areAll) watch({ pipelines: [id], pipelineCount: on.length });
  }, [id, node, areAll, on.length]);
  useEffect(() => () => watch(undefined), []);

  if (pipeline.data === undefined) {
    if (pipeline.status === 404 || pipeline.status === 400)
      return <Failure error={`No node reports a pipeline ${id}, or this token cannot see it.`} />;
    return pipeline.error === undefined ? <Loading /> : <Failure error={pipeline.error} retry={pipeline.reload} />;
  }
  const { tone, word } = summaryOf(countStatuses(on));
  const View = tab?.view ?? FlowTab;
  return (
    <>
      <div class="view-head">
        <div>
          <p class="crumb">
            <a href="#/pipelines">Pipelines</a> / {id}
          </p>
          <h1>{name}</h1>
          <div class="head-facts">
            <ToneWord tone={tone} word={word} />
            <span class="faint">on {plural(on.length, "node")}</span>
          </div>
        </div>
        <div class="head-actions">
          <Choice
            label="Node"
            all="All nodes, summed"
            value={node}
            options={nodes}
            onChange={(value) => setQuery({ node: value })}
          />
          <a class="button" href={link(["logs"], { pipeline: id, node })}>
            Logs
          </a>
        </div>
      </div>
      <nav class="tabs" aria-label="Parts of this pipeline">
        {TABS.map((one) => (
          <a
            key={one.id}
            href={pipelineLink(id, {
              tab: one.id === "flow" ? undefined : one.id,
              node,
              range: query.get("range") ?? undefined,
            })}
            aria-current={tab === one ? "page" : undefined}
          >
            {one.title}
          </a>
        ))}
      </nav>
      <View pipeline={pipeline.data} node={node} />
    </>
  );
}

function usePipeline(id: string) {
  const answer = useQuery(
    `pipeline ${id}`,
    (signal) => queries.pipeline(id, { environment: environment.value }, { signal }),
    // The first answer says how large it is.
    refreshMs.get(id) ?? MIN_REFRESH_MS,
  );
  const isOf = useCallback((change: EventOf<"status_change">) => change.pipelineId === id, [id]);
  const on = useRuns(answer.data?.nodes, isOf, answer.reload);
  if (answer.data !== undefined)
    refreshMs.set(id, Math.max(MIN_REFRESH_MS, answer.data.nodes.length * REFRESH_MS_PER_NODE));
  const data = useMemo<PipelineOnNodes | undefined>(
    () => answer.data && { id, name: answer.data.name, on: on.length === 0 ? answer.data.nodes : on },
    [answer.data?.name, on, id],
  );
  return { ...answer, data };
}

const refreshMs = new Map<string, number>();
