/** Lines live and past in one list, the newest last. Scrolling up pauses; the end of the list follows. */

import type { LogLevel } from "@systole/client";
import { useCallback, useEffect, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import { withoutAnsi } from "../../format/ansi.ts";
import { parseJsonLine } from "../../format/json_line.ts";
import { plural } from "../../format/numbers.ts";
import { exact } from "../../format/times.ts";
import { nodeName, nodes } from "../../state/nodes.ts";
import { pipelineNames, readPipelineNames } from "../../state/pipeline_names.ts";
import { nodeLink, pipelineLink, route, setQuery } from "../../state/route.ts";
import { CopyButton, download } from "../../ui/copy.tsx";
import { Empty, Failure, Loading } from "../../ui/empty.tsx";
import { Icon } from "../../ui/icons.tsx";
import { LogFilters } from "./filters.tsx";
import { KEPT, type Line, type LineFilter, LineSource } from "./lines.ts";
import { LINE_HEIGHT, LineRow } from "./row.tsx";

const LEVELS: readonly LogLevel[] = ["TRACE", "DEBUG", "INFO", "WARN", "ERROR"];
/** A person who types does not want a query for each letter. */
const TYPING_MS = 300;
const BEYOND = 20;

function readFilter(query: URLSearchParams): LineFilter {
  const level = query.get("level")?.toUpperCase();
  return {
    node: query.get("node") ?? undefined,
    pipeline: query.get("pipeline") ?? undefined,
    level: LEVELS.find((known) => known === level),
    text: query.get("q") ?? "",
    until: Number(query.get("until")) || undefined,
  };
}

export function LogsView() {
  const filter = readFilter(route.value.query);
  const key = JSON.stringify(filter);
  const [, setVersion] = useState(0);
  const [source, setSource] = useState<LineSource | undefined>(undefined);
  const [selected, setSelected] = useState<Line | undefined>(undefined);
  useEffect(() => {
    document.title = "Logs · Systole";
    readPipelineNames();
  }, []);
  useEffect(() => {
    let opened: LineSource | undefined;
    const timer = setTimeout(
      () => {
        opened = new LineSource(filter, () => setVersion((version) => version + 1));
        setSource(opened);
      },
      source === undefined ? 0 : TYPING_MS,
    );
    return () => {
      clearTimeout(timer);
      opened?.close();
    };
  }, [key]);
  // The same function each time, so that a row that stays is not drawn again while a person scrolls.
  const select = useCallback((line: Line) => setSelected((before) => (before === line ? undefined : line)), []);
  const asText = () =>
    (source?.lines ?? [])
      .map(
        (line) =>
          `${new Date(line.at).toISOString()} ${nodeName(line.nodeId)} ${line.pipelineId} ${line.level ?? "-"} ${withoutAnsi(line.line)}`,
      )
      .join("\n");
  return (
    <div class="logs">
      <h1 class="visually-hidden">Logs</h1>
      <LogFilters filter={filter} levels={LEVELS} pipelines={pipelineNames.value} nodes={nodes.value}>
        <CopyButton text={asText} label="Copy all lines that are shown" />
        <button
          type="button"
          class="icon-button"
          aria-label="Download all lines that are shown"
          title="Download"
          onClick={() => download("systole.log", asText())}
        >
          <Icon name="download" size={16} />
        </button>
      </LogFilters>
      {source === undefined || (source.isLoading && source.lines.length === 0) ? (
        <Loading />
      ) : source.error !== undefined ? (
        <Failure error={source.error} retry={() => setQuery({})} />
      ) : (
        <LineList source={source} filter={filter} selected={selected} onSelect={select} />
      )}
      {selected !== undefined && <LineDetail line={selected} onClose={() => setSelected(undefined)} />}
    </div>
  );
}

function LineList({
  source,
  filter,
  selected,
  onSelect,
}: {
  source: LineSource;
  filter: LineFilter;
  selected: Line | undefined;
  onSelect: (line: Line) => void;
}) {
  const frame = useRef<HTMLElement>(null);
  const [scroll, setScroll] = useState({ top: 0, height: 600 });
  const { lines } = source;
  // The end stays in view until a person scrolls up.
  useLayoutEffect(() => {
    const element = frame.current;
    if (element === null) return;
    if (!source.isPaused) element.scrollTop = element.scrollHeight;
    setScroll({ top: element.scrollTop, height: element.clientHeight });
  }, [lines, source]);
  const onScroll = () => {
    const element = frame.current;
    if (element === null) return;
    const isAtEnd = element.scrollHeight - element.scrollTop - element.clientHeight < LINE_HEIGHT * 1.5;
    if (isAtEnd && source.isPaused) source.resume();
    else if (!isAtEnd && !source.isPaused) source.pause();
    setScroll({ top: element.scrollTop, height: element.clientHeight });
    if (element.scrollTop < LINE_HEIGHT * 40) {
      void source.readOlder().then((added) => {
        // What is read stays where it is.
        if (added > 0 && frame.current !== null) frame.current.scrollTop += added * LINE_HEIGHT;
      });
    }
  };
  const from = Math.max(0, Math.floor(scroll.top / LINE_HEIGHT) - BEYOND);
  const to = Math.min(lines.length, Math.ceil((scroll.top + scroll.height) / LINE_HEIGHT) + BEYOND);
  if (lines.length === 0) return <NoLines filter={filter} />;
  return (
    <div class="card log-card">
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: a region that scrolls must be reachable by keyboard */}
      <section ref={frame} class="log-frame" aria-label="Lines" tabIndex={0} onScroll={onScroll}>
        <div style={{ height: `${lines.length * LINE_HEIGHT}px`, position: "relative" }}>
          <div style={{ transform: `translateY(${from * LINE_HEIGHT}px)` }}>
            {lines.slice(from, to).map((line, index) => (
              <LineRow
                key={`${line.seq} ${from + index}`}
                line={line}
                nodeName={nodeName(line.nodeId)}
                isSelected={line === selected}
                text={filter.text}
                onSelect={onSelect}
              />
            ))}
          </div>
        </div>
      </section>
      <div class="log-foot faint">
        <span>
          {plural(lines.length, "line")}
          {lines.length >= KEPT && ", the most that are kept here"}
          {!source.hasOlder && lines.length < KEPT && " · no older ones"}
        </span>
        {source.isPaused && (
          <button type="button" class="small" onClick={() => source.resume()}>
            <Icon name="down" size={14} />{" "}
            {source.held.length === 0 ? "Follow" : `${plural(source.held.length, "new line")}`}
            {source.droppedWhileHeld > 0 && `, ${source.droppedWhileHeld} not kept`}
          </button>
        )}
        {!source.isPaused && filter.until === undefined && <span>following</span>}
      </div>
    </div>
  );
}

function LineDetail({ line, onClose }: { line: Line; onClose: () => void }) {
  const json = useMemo(() => parseJsonLine(line.line), [line]);
  const text = json === undefined ? withoutAnsi(line.line) : JSON.stringify(json.value, null, 2);
  return (
    <aside class="card line-detail" aria-label="The chosen line">
      <header>
        <span>
          {exact(line.at).split("\n")[0]} · <a href={nodeLink(line.nodeId)}>{nodeName(line.nodeId)}</a> ·{" "}
          <a href={pipelineLink(line.pipelineId, { node: line.nodeId })}>{line.pipelineId}</a>
        </span>
        <span>
          <CopyButton text={text} label="Copy the line" />
          <button type="button" class="icon-button" aria-label="Close" onClick={onClose}>
            <Icon name="close" size={16} />
          </button>
        </span>
      </header>
      <pre>{text}</pre>
    </aside>
  );
}

function NoLines({ filter }: { filter: LineFilter }) {
  const isFiltered =
    filter.text !== "" ||
    filter.level !== undefined ||
    filter.node !== undefined ||
    filter.pipeline !== undefined ||
    filter.until !== undefined;
  if (isFiltered) {
    return (
      <Empty title="No line matches">
        <button type="button" onClick={() => setQuery({ q: "", level: "", node: "", pipeline: "", until: "" })}>
          Remove the filters
        </button>
      </Empty>
    );
  }
  return (
    <Empty title="No pipeline has written a line yet" command="systole-agent status">
      Lines appear here as the agents report them.
    </Empty>
  );
}
