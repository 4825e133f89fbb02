import type { EventOf } from "@systole/client";
import { useCallback, useEffect, useMemo } from "preact/hooks";
import { queries } from "../../api/http.ts";
import { readRange } from "../../charts/range.ts";
import { RangePicker } from "../../charts/range_picker.tsx";
import { bytes, plural } from "../../format/numbers.ts";
import { duration } from "../../format/times.ts";
import { clearQueue } from "../../state/background.ts";
import { now } from "../../state/clock.ts";
import { onChange } from "../../state/fleet.ts";
import { lastSeenOf, liveStatusOf, liveVersion, watch } from "../../state/live.ts";
import { findNode } from "../../state/nodes.ts";
import { link, route } from "../../state/route.ts";
import { useRuns } from "../../state/runs.ts";
import { readPasts } from "../../state/sparks.ts";
import { toneOf } from "../../state/status.ts";
import { CopyButton } from "../../ui/copy.tsx";
import { Failure, Loading } from "../../ui/empty.tsx";
import { Status } from "../../ui/status.tsx";
import { Ago, Moment } from "../../ui/time.tsx";
import { useQuery } from "../../ui/use_query.ts";
import { MAX_PASTS } from "../runs.tsx";
import { StatusTimeline } from "../timeline.tsx";
import { NodeActions } from "./actions.tsx";
import { AgentHealthCard } from "./health.tsx";
import { HostCharts } from "./host_charts.tsx";
import { NodePipelines } from "./pipelines.tsx";

const REFRESH_MS = 15_000;

export function NodeView({ id }: { id: string }) {
  const node = useQuery(`node ${id}`, (signal) => queries.node(id, {}, { signal }), REFRESH_MS);
  const known = findNode(id);
  const isOf = useCallback((change: EventOf<"status_change">) => change.nodeId === id, [id]);
  const read = useRuns(node.data?.pipelines, isOf, node.reload);
  const runs = useMemo(
    () => [...read].sort((one, other) => one.pipelineName.localeCompare(other.pipelineName)),
    [read],
  );
  // A change of its name, labels or maintenance has the node's own state before and after.
  useEffect(
    () =>
      onChange(({ nodeId, pipelineId, fromStatus, toStatus }) => {
        if (nodeId === id && pipelineId === undefined && fromStatus === toStatus) node.reload();
      }),
    [id],
  );
  const name = node.data?.name ?? known?.name ?? id;
  useEffect(() => {
    document.title = `${name} · Systole`;
  }, [name]);
  useEffect(() => {
    watch({ nodes: [id], pipelineCount: runs.length });
  }, [id, runs.length]);
  useEffect(() => {
    readPasts(
      id,
      runs.slice(0, MAX_PASTS).map(({ pipelineId }) => pipelineId),
    );
  }, [id, runs.length]);
  useEffect(
    () => () => {
      watch(undefined);
      clearQueue();
    },
    [],
  );
  void liveVersion.value;

  if (node.data === undefined) {
    if (node.status === 404 || node.status === 400)
      return <Failure error="There is no such node, or this token cannot see it. It may have been removed." />;
    return node.error === undefined ? <Loading /> : <Failure error={node.error} retry={node.reload} />;
  }
  const details = node.data;
  const status = liveStatusOf(id) ?? known?.status ?? details.status;
  const range = readRange(route.value.query, now.value);
  const seen = Math.max(lastSeenOf(id) ?? 0, details.lastSeenAt ?? 0);
  return (
    <>
      <div class="view-head">
        <div>
          <p class="crumb">
            <a href="#/">Fleet</a> / Node
          </p>
          <h1>{name}</h1>
          <div class="head-facts">
            <Status status={status} />
            {details.statusReason !== "" && toneOf(status) !== "ok" && (
              <span class="muted">{details.statusReason}</span>
            )}
            <span class="faint">
              last report <Ago at={seen} />
            </span>
            {Object.entries(details.labels ?? {}).map(([label, value]) => (
              <a key={label} class="label" href={link([], { label: value === "" ? label : `${label}:${value}` })}>
                {value === "" ? label : `${label}:${value}`}
              </a>
            ))}
          </div>
        </div>
        <NodeActions node={details} onChange={node.reload} />
      </div>
      {details.maintenance != null && (
        <p class="banner">
          In maintenance until <Moment at={details.maintenance.until} />
          {details.maintenance.note ? `: ${details.maintenance.note}` : ""}. Rollouts leave this node out.
        </p>
      )}
      <dl class="facts card">
        <Fact name="System">{details.os}</Fact>
        <Fact name="Agent">{details.agentVersion ?? "–"}</Fact>
        <Fact name="Vector">{details.vectorVersion ?? "–"}</Fact>
        <Fact name="Runs as">{details.runningAs ?? "–"}</Fact>
        <Fact name="Address">{details.lastAddress ?? "–"}</Fact>
        <Fact name="Memory">{bytes(details.host?.memoryTotalBytes)}</Fact>
        <Fact name="Agent up for">
          {details.health?.uptimeSeconds === undefined ? "–" : duration(details.health.uptimeSeconds * 1_000)}
        </Fact>
        <Fact name="Enrolled">
          <Moment at={details.enrolledAt} />
        </Fact>
        <Fact name="Environment">{details.environmentName ?? "–"}</Fact>
        <Fact name="Id">
          <span class="id" title={id}>
            <span class="mono">{id}</span> <CopyButton text={id} label="Copy the id" />
          </span>
        </Fact>
      </dl>
      <section>
        <h2 class="section-title">{plural(runs.length, "pipeline")}</h2>
        <NodePipelines runs={runs} />
      </section>
      <section>
        <div class="section-head">
          <h2 class="section-title">Host</h2>
          <RangePicker range={range} />
        </div>
        <HostCharts id={id} range={range} />
      </section>
      <section>
        <h2 class="section-title">States</h2>
        <StatusTimeline
          node={id}
          range={range}
          lanes={[
            { key: "", title: name, status },
            ...runs.map((one) => ({ key: one.pipelineId, title: one.pipelineName, status: one.status })),
          ]}
        />
      </section>
      <AgentHealthCard health={details.health ?? undefined} gaps={node.data.gaps ?? []} />
    </>
  );
}

export function Fact({ name, children }: { name: string; children: preact.ComponentChildren }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{children}</dd>
    </div>
  );
}
