import type { ComponentType } from "preact";
import { useEffect, useMemo } from "preact/hooks";
import { plural } from "../../format/numbers.ts";
import { directoryVersion, nodeName } from "../../state/directory.ts";
import { fleet } from "../../state/fleet.ts";
import { watch } from "../../state/live.ts";
import { type PipelineRow, pipelineRows } from "../../state/pipelines.ts";
import { link, pipelineLink, route, setQuery } from "../../state/route.ts";
import { Failure, Loading } from "../../ui/empty.tsx";
import { ToneWord } from "../../ui/status.tsx";
import { ChartsTab } from "./charts.tsx";
import { FlowTab } from "./flow.tsx";
import { LedgerTab } from "./ledger.tsx";
import { TapTab } from "./tap.tsx";
import { VersionsTab } from "./versions.tsx";

export interface TabProps {
  pipeline: PipelineRow;
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

export function PipelineView({ id }: { id: string }) {
  const { query } = route.value;
  const pipeline = pipelineRows.value.find((row) => row.id === id);
  const tab = TABS.find((one) => one.id === query.get("tab")) ?? TABS[0];
  const chosen = query.get("node") ?? undefined;
  const node = pipeline?.on.some(({ nodeId }) => nodeId === chosen) === true ? chosen : undefined;
  const nodes = useMemo(
    () =>
      (pipeline?.on ?? [])
        .map(({ nodeId }) => ({ id: nodeId, name: nodeName(nodeId) }))
        .sort((one, other) => one.name.localeCompare(other.name, undefined, { numeric: true })),
    [pipeline, directoryVersion.value],
  );
  useEffect(() => {
    document.title = `${pipeline?.name ?? id} · Systole`;
  }, [pipeline?.name, id]);
  useEffect(() => {
    watch({
      pipelines: [id],
      ...(node !== undefined && { nodes: [node] }),
      pipelineCount: node === undefined ? nodes.length : 1,
    });
  }, [id, node, nodes.length]);
  useEffect(() => () => watch(undefined), []);

  if (pipeline === undefined) {
    return fleet.value.isComplete ? (
      <Failure error={`No node reports a pipeline ${id}, or this token cannot see it.`} />
    ) : (
      <Loading />
    );
  }
  const View = tab?.view ?? FlowTab;
  return (
    <>
      <div class="view-head">
        <div>
          <p class="crumb">
            <a href="#/pipelines">Pipelines</a> / {id}
          </p>
          <h1>{pipeline.name}</h1>
          <div class="head-facts">
            <ToneWord tone={pipeline.tone} word={pipeline.note} />
            <span class="faint">on {plural(pipeline.on.length, "node")}</span>
          </div>
        </div>
        <div class="head-actions">
          <select
            aria-label="Node"
            value={node ?? ""}
            onChange={({ currentTarget }) => setQuery({ node: currentTarget.value })}
          >
            <option value="">All nodes, summed</option>
            {nodes.map((one) => (
              <option key={one.id} value={one.id}>
                {one.name}
              </option>
            ))}
          </select>
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
      <View pipeline={pipeline} node={node} />
    </>
  );
}
