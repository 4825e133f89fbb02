/** Lines as they are shown: of the past by queries, of now by the feed, without one twice. */

import { connect, type EventOf, type Feed, type LogLevel, parseEventId, type StoredLogLine } from "@systole/client";
import { CLIENT, queries, sessionFetch } from "../../api/http.ts";
import { environment } from "../../state/session.ts";

export interface Line {
  seq: number;
  at: number;
  nodeId: string;
  pipelineId: string;
  level: LogLevel | null;
  line: string;
}

export interface LineFilter {
  node: string | undefined;
  pipeline: string | undefined;
  level: LogLevel | undefined;
  text: string;
  /** The end of a past time; undefined follows what comes. */
  until: number | undefined;
}

/** What is shown at most; older lines leave. */
export const KEPT = 10_000;
/** Lines that wait while a person reads. */
const HELD = 5_000;
const PAGE = 500;
const FLUSH_MS = 200;

const LEVELS: readonly LogLevel[] = ["TRACE", "DEBUG", "INFO", "WARN", "ERROR"];

export class LineSource {
  lines: readonly Line[] = [];
  /** Lines that came while the view was paused. */
  held: Line[] = [];
  droppedWhileHeld = 0;
  isPaused = false;
  /** Whether there are older lines than the first. */
  hasOlder = false;
  error: string | undefined;
  isLoading = true;
  readonly #filter: LineFilter;
  readonly #onChange: () => void;
  readonly #stop = new AbortController();
  #feed: Feed | undefined;
  #cursor: string | undefined;
  #early: Line[] | undefined = [];
  #timer: ReturnType<typeof setTimeout> | undefined;
  #isReadingOlder = false;

  constructor(filter: LineFilter, onChange: () => void) {
    this.#filter = filter;
    this.#onChange = onChange;
    // The stream is open before the past is asked for, so that no line falls between the two.
    if (filter.until === undefined) this.#follow();
    void this.#readPast();
  }

  close(): void {
    this.#stop.abort();
    clearTimeout(this.#timer);
    void this.#feed?.close();
  }

  pause(): void {
    this.isPaused = true;
  }

  resume(): void {
    this.isPaused = false;
    this.#append(this.held);
    this.held = [];
    this.droppedWhileHeld = 0;
    this.#onChange();
  }

  clear(): void {
    this.lines = [];
    this.#onChange();
  }

  /** Reads the page before the first line. Returns how many lines were added before it. */
  async readOlder(): Promise<number> {
    if (this.#isReadingOlder || !this.hasOlder || this.lines.length >= KEPT) return 0;
    this.#isReadingOlder = true;
    try {
      const { items, next } = await queries.logs(
        { ...this.#parameters(), cursor: this.#cursor },
        { signal: this.#stop.signal },
      );
      this.#cursor = next ?? undefined;
      this.hasOlder = next !== null;
      const older = items
        .map(toLine)
        .reverse()
        .slice(this.lines.length - KEPT);
      this.lines = [...older, ...this.lines];
      this.#onChange();
      return older.length;
    } catch {
      return 0;
    } finally {
      this.#isReadingOlder = false;
    }
  }

  #parameters() {
    const { node, pipeline, level, text, until } = this.#filter;
    return {
      node,
      pipeline,
      level,
      q: text === "" ? undefined : text,
      to: until,
      environment: environment.value,
      order: "desc" as const,
      limit: PAGE,
    };
  }

  async #readPast(): Promise<void> {
    try {
      const { items, next } = await queries.logs(this.#parameters(), { signal: this.#stop.signal });
      this.lines = items.map(toLine).reverse();
      this.#cursor = next ?? undefined;
      this.hasOlder = next !== null;
      const last = this.lines.at(-1)?.seq ?? 0;
      this.#append((this.#early ?? []).filter(({ seq }) => seq > last));
      this.#early = undefined;
    } catch (error) {
      if (this.#stop.signal.aborted) return;
      this.error = error instanceof Error ? error.message : String(error);
    }
    this.isLoading = false;
    this.#onChange();
  }

  #follow(): void {
    const { node, pipeline } = this.#filter;
    this.#feed = connect({
      url: "./",
      client: CLIENT,
      fetch: sessionFetch,
      types: ["log_entry"],
      environment: environment.value,
      nodes: node === undefined ? [] : [node],
      pipelines: pipeline === undefined ? [] : [pipeline],
      snapshot: false,
      onEvent: (event, { id }) => {
        if (event.type === "log_entry") this.#take(event, id);
      },
      onGap: () => {
        // What is missing is stored: read the newest page again.
        this.#early = [];
        void this.#readPast();
      },
    });
  }

  #take({ nodeId, pipelineId, entries }: EventOf<"log_entry">, id: string | undefined): void {
    const last = id === undefined ? 0 : (parseEventId(id)?.seq ?? 0);
    const lines = entries
      .map(({ at, level, line }, index) => ({
        seq: Number(last) - (entries.length - 1 - index),
        at,
        nodeId,
        pipelineId,
        level,
        line,
      }))
      .filter((line) => this.#matches(line));
    if (lines.length === 0) return;
    if (this.#early !== undefined) {
      this.#early.push(...lines);
      return;
    }
    if (this.isPaused) {
      this.held.push(...lines);
      const excess = this.held.length - HELD;
      if (excess > 0) {
        this.held.splice(0, excess);
        this.droppedWhileHeld += excess;
      }
    } else this.#append(lines);
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      this.#onChange();
    }, FLUSH_MS);
  }

  #append(lines: readonly Line[]): void {
    this.lines = [...this.lines, ...lines].slice(-KEPT);
  }

  /** The same conditions as the query's. */
  #matches({ level, line }: Line): boolean {
    const { level: least, text } = this.#filter;
    if (least !== undefined && (level === null || LEVELS.indexOf(level) < LEVELS.indexOf(least))) return false;
    return text === "" || line.toLowerCase().includes(text.toLowerCase());
  }
}

function toLine({ seq, at, nodeId, pipelineId, level, line }: StoredLogLine): Line {
  return { seq, at, nodeId, pipelineId, level: level ?? null, line };
}
