/** What happened, the newest first. New events come over the fleet's stream, older ones by queries. */

import { parseEventId } from "@systole/client";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { queries } from "../../api/http.ts";
import { plural } from "../../format/numbers.ts";
import { clockTime, day, exact } from "../../format/times.ts";
import { onChange, onDeployment, onReread } from "../../state/fleet.ts";
import { nodeName, nodes } from "../../state/nodes.ts";
import { pipelineNames, readPipelineNames } from "../../state/pipeline_names.ts";
import { nodeLink, pipelineLink, route, setQuery } from "../../state/route.ts";
import { environment } from "../../state/session.ts";
import { toneOf, wordOf } from "../../state/status.ts";
import { Empty, Failure, Loading } from "../../ui/empty.tsx";
import { Choice } from "../../ui/fields.tsx";
import { Shape } from "../../ui/status.tsx";
import { type Column, type Group, Table } from "../../ui/table.tsx";
import { type Entry, EntryList, ofChange, ofDeployment } from "./entries.ts";

const PAGE = 200;
/** Names that a list offers. */
const MAX_NAMES = 500;
const TROUBLE = new Set(["bad", "lost", "warn"]);

export function EventsView() {
  const { query } = route.value;
  const node = query.get("node") || undefined;
  const pipeline = query.get("pipeline") || undefined;
  const kind = query.get("kind") || undefined;
  const isTrouble = query.get("trouble") === "1";
  const list = useEntries(node, pipeline, kind);
  const end = useRef<HTMLDivElement>(null);

  useEffect(() => {
    document.title = "Events · Systole";
    readPipelineNames();
  }, []);
  const entries = list?.entries;
  useEffect(() => {
    const element = end.current;
    if (element === null || list === undefined) return;
    const observer = new IntersectionObserver(([entry]) => entry?.isIntersecting === true && void list.more(), {
      rootMargin: "600px",
    });
    observer.observe(element);
    return () => observer.disconnect();
  }, [list, entries?.length]);

  const shown = useMemo(
    () =>
      (entries ?? []).filter(
        ({ kind: of, from, to }) =>
          !isTrouble || ((of === "deployment" || from !== undefined) && TROUBLE.has(toneOf(to))),
      ),
    [entries, isTrouble],
  );
  const rows = useMemo(() => byDay(shown), [shown]);
  return (
    <>
      <h1 class="visually-hidden">Events</h1>
      <div class="toolbar">
        <Choice
          label="Kind"
          all="States and deployments"
          value={kind}
          options={[
            { value: "state", title: "States" },
            { value: "deployment", title: "Deployments" },
          ]}
          onChange={(chosen) => setQuery({ kind: chosen })}
        />
        <Choice
          label="Node"
          all="All nodes"
          value={node}
          options={nodes.value.slice(0, MAX_NAMES).map(({ id, name }) => ({ value: id, title: name }))}
          onChange={(chosen) => setQuery({ node: chosen })}
        />
        <Choice
          label="Pipeline"
          all="All pipelines"
          value={pipeline}
          options={pipelineNames.value.slice(0, MAX_NAMES).map(({ id, name }) => ({ value: id, title: name }))}
          onChange={(chosen) => setQuery({ pipeline: chosen })}
        />
        <label class="check">
          <input
            type="checkbox"
            checked={isTrouble}
            onChange={({ currentTarget }) => setQuery({ trouble: currentTarget.checked ? "1" : "" })}
          />{" "}
          Only trouble
        </label>
        <span class="toolbar-count">{plural(shown.length, "event")}</span>
      </div>
      {entries === undefined ? (
        list?.error === undefined ? (
          <Loading />
        ) : (
          <Failure error={list.error} retry={() => void list.refresh()} />
        )
      ) : shown.length === 0 ? (
        <div class="card">
          <Empty title={isTrouble ? "No trouble in what was read" : "Nothing has happened here"}>
            Changes of state and deployments appear by themselves.
          </Empty>
        </div>
      ) : (
        <Table
          label="Events, newest first"
          columns={COLUMNS}
          rows={rows}
          keyOf={(row) => String(row.seq)}
          rowHeight={38}
          classOf={({ kind: of, from, to }) => (of === "state" && from === undefined ? "" : `row-${toneOf(to)}`)}
        />
      )}
      <div ref={end} />
    </>
  );
}

function useEntries(node: string | undefined, pipeline: string | undefined, kind: string | undefined) {
  const [, setVersion] = useState(0);
  const [list, setList] = useState<EntryList | undefined>(undefined);
  useEffect(() => {
    const of = { node, pipeline, environment: environment.value, order: "desc", limit: PAGE } as const;
    const states = async (cursor: string | undefined, signal: AbortSignal) => {
      const { items, next } = await queries.statusChanges({ ...of, cursor }, { signal });
      return { items: items.map(ofChange), next };
    };
    const deployments = async (cursor: string | undefined, signal: AbortSignal) => {
      const { items, next } = await queries.deployments({ ...of, cursor }, { signal });
      return { items: items.map(ofDeployment), next };
    };
    const sources = [...(kind === "deployment" ? [] : [states]), ...(kind === "state" ? [] : [deployments])];
    const opened = new EntryList(sources, () => setVersion((version) => version + 1));
    setList(opened);
    const take = (entry: Entry) => {
      if (!Number.isFinite(entry.seq) || (kind !== undefined && entry.kind !== kind)) return;
      if (node !== undefined && entry.nodeId !== node) return;
      if (pipeline === undefined || entry.pipelineId === pipeline) opened.add(entry);
    };
    const seqOf = (id: string | undefined) => Number(id === undefined ? Number.NaN : parseEventId(id)?.seq);
    const unlisten = [
      onChange((change, id) => take(ofChange({ ...change, seq: seqOf(id) }))),
      onDeployment((step, id) => take(ofDeployment({ ...step, seq: seqOf(id) }))),
      onReread(() => void opened.refresh()),
    ];
    return () => {
      for (const stop of unlisten) stop();
      opened.close();
    };
  }, [node, pipeline, kind]);
  return list;
}

function byDay(entries: readonly Entry[]): (Entry | Group)[] {
  const rows: (Entry | Group)[] = [];
  let last = "";
  for (const entry of entries) {
    const date = day(entry.at);
    if (date !== last) rows.push({ group: date, heading: date === day(Date.now()) ? `Today, ${date}` : date });
    last = date;
    rows.push(entry);
  }
  return rows;
}

const COLUMNS: readonly Column<Entry>[] = [
  {
    id: "time",
    title: "Time",
    cell: ({ at }) => (
      <time dateTime={new Date(at).toISOString()} title={exact(at)}>
        {clockTime(at)}
      </time>
    ),
  },
  {
    id: "change",
    title: "Event",
    cell: ({ kind, from, to, version }) => (
      <span class={`status tone-${toneOf(to)}`}>
        <Shape tone={toneOf(to)} />
        {from !== undefined && <span class="faint wide-only">{wordOf(from)} →</span>}
        <span class="status-word">{wordOf(to)}</span>
        {kind === "deployment" && <span class="badge is-info">version {version}</span>}
      </span>
    ),
  },
  {
    id: "subject",
    title: "Of",
    cell: ({ nodeId, nodeName: named, pipelineId, pipelineName }) => (
      <span class="subject">
        {pipelineId === AGENT ? (
          "agent"
        ) : pipelineId !== undefined ? (
          <a href={pipelineLink(pipelineId, { node: nodeId })}>{pipelineName ?? nameOfPipeline(pipelineId)}</a>
        ) : null}
        {pipelineId !== undefined && <span class="faint"> on </span>}
        <a href={nodeLink(nodeId)}>{named ?? nodeName(nodeId)}</a>
      </span>
    ),
  },
  {
    id: "reason",
    title: "Reason",
    width: 2,
    cell: ({ reason }) => (
      <span class="muted reason-cell" title={reason}>
        {reason}
      </span>
    ),
  },
];

/** The subject of an update of the agent itself. */
const AGENT = "agent";

function nameOfPipeline(id: string): string {
  return pipelineNames.value.find((one) => one.id === id)?.name ?? id;
}
