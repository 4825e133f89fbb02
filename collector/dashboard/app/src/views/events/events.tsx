/** What happened, the newest first. New changes come over the fleet's stream, older ones by queries. */

import type { NumberedStatusChange } from "@systole/client";
import { parseEventId } from "@systole/client";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { describe, queries } from "../../api/http.ts";
import { plural } from "../../format/numbers.ts";
import { clockTime, day, exact } from "../../format/times.ts";
import { onChange } from "../../state/fleet.ts";
import { nodeName, nodes } from "../../state/nodes.ts";
import { pipelineNames, readPipelineNames } from "../../state/pipeline_names.ts";
import { nodeLink, pipelineLink, route, setQuery } from "../../state/route.ts";
import { environment } from "../../state/session.ts";
import { toneOf, wordOf } from "../../state/status.ts";
import { Empty, Failure, Loading } from "../../ui/empty.tsx";
import { Choice } from "../../ui/fields.tsx";
import { Shape } from "../../ui/status.tsx";
import { type Column, type Group, Table } from "../../ui/table.tsx";

type Change = Omit<NumberedStatusChange, "type">;

const PAGE = 200;
/** What is in the page at most; a filter finds older ones. */
const KEPT = 5_000;
/** Names that a list offers. */
const MAX_NAMES = 500;
const TROUBLE = new Set(["bad", "lost", "warn"]);

export function EventsView() {
  const { query } = route.value;
  const node = query.get("node") ?? undefined;
  const pipeline = query.get("pipeline") ?? undefined;
  const isTrouble = query.get("trouble") === "1";
  const [changes, setChanges] = useState<readonly Change[] | undefined>(undefined);
  const [error, setError] = useState<string | undefined>(undefined);
  const cursor = useRef<string | null>(null);
  const isReading = useRef(false);
  const end = useRef<HTMLDivElement>(null);

  useEffect(() => {
    document.title = "Events · Systole";
    readPipelineNames();
  }, []);
  useEffect(() => {
    const stop = new AbortController();
    setChanges(undefined);
    setError(undefined);
    queries
      .statusChanges(
        { node, pipeline, order: "desc", limit: PAGE, environment: environment.value },
        { signal: stop.signal },
      )
      .then(
        ({ items, next }) => {
          cursor.current = next;
          setChanges(items);
        },
        (failed: unknown) => !stop.signal.aborted && setError(describe(failed)),
      );
    const unlisten = onChange((change, id) => {
      if ((node !== undefined && change.nodeId !== node) || (pipeline !== undefined && change.pipelineId !== pipeline))
        return;
      const seq = Number(id === undefined ? Number.NaN : parseEventId(id)?.seq);
      setChanges((before) =>
        before === undefined || before.some((one) => one.seq === seq)
          ? before
          : [{ ...change, seq }, ...before].slice(0, KEPT),
      );
    });
    return () => {
      stop.abort();
      unlisten();
    };
  }, [node, pipeline]);

  const readOlder = async () => {
    if (isReading.current || cursor.current === null) return;
    isReading.current = true;
    const page = await queries
      .statusChanges({
        node,
        pipeline,
        order: "desc",
        limit: PAGE,
        cursor: cursor.current,
        environment: environment.value,
      })
      .catch(() => undefined);
    isReading.current = false;
    if (page === undefined) return;
    cursor.current = page.next;
    setChanges((before) => [...(before ?? []), ...page.items]);
  };
  useEffect(() => {
    const element = end.current;
    if (element === null) return;
    const observer = new IntersectionObserver(([entry]) => entry?.isIntersecting === true && void readOlder(), {
      rootMargin: "600px",
    });
    observer.observe(element);
    return () => observer.disconnect();
  }, [changes === undefined, node, pipeline]);

  const shown = useMemo(
    () =>
      (changes ?? []).filter(
        ({ fromStatus, toStatus }) => !isTrouble || (fromStatus !== toStatus && TROUBLE.has(toneOf(toStatus))),
      ),
    [changes, isTrouble],
  );
  const rows = useMemo(() => byDay(shown), [shown]);
  if (error !== undefined) return <Failure error={error} retry={() => location.reload()} />;
  return (
    <>
      <h1 class="visually-hidden">Events</h1>
      <div class="toolbar">
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
      {changes === undefined ? (
        <Loading />
      ) : shown.length === 0 ? (
        <Empty title="Nothing has happened here">Changes of state appear by themselves.</Empty>
      ) : (
        <Table
          label="Events, newest first"
          columns={COLUMNS}
          rows={rows}
          keyOf={(row) => String(row.seq)}
          rowHeight={40}
          classOf={(row) => (row.fromStatus === row.toStatus ? "" : `row-${toneOf(row.toStatus)}`)}
        />
      )}
      <div ref={end} />
    </>
  );
}

function byDay(changes: readonly Change[]): (Change | Group)[] {
  const rows: (Change | Group)[] = [];
  let last = "";
  for (const change of changes) {
    const date = day(change.timestamp);
    if (date !== last) rows.push({ group: date, heading: date === day(Date.now()) ? `Today, ${date}` : date });
    last = date;
    rows.push(change);
  }
  return rows;
}

const COLUMNS: readonly Column<Change>[] = [
  {
    id: "time",
    title: "Time",
    cell: ({ timestamp }) => (
      <time dateTime={new Date(timestamp).toISOString()} title={exact(timestamp)}>
        {clockTime(timestamp)}
      </time>
    ),
  },
  {
    id: "change",
    title: "State",
    cell: ({ fromStatus, toStatus }) => (
      <span class={`status tone-${toneOf(toStatus)}`}>
        <Shape tone={toneOf(toStatus)} />
        {fromStatus !== toStatus && <span class="faint wide-only">{wordOf(fromStatus)} →</span>} {wordOf(toStatus)}
      </span>
    ),
  },
  {
    id: "subject",
    title: "Of",
    cell: ({ nodeId, pipelineId, pipelineName }) => {
      return (
        <span class="subject">
          {pipelineId !== undefined && (
            <a href={pipelineLink(pipelineId, { node: nodeId })}>{pipelineName ?? pipelineId}</a>
          )}
          {pipelineId !== undefined && <span class="faint"> on </span>}
          <a href={nodeLink(nodeId)}>{nodeName(nodeId)}</a>
        </span>
      );
    },
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
