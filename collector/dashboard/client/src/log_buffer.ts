/** The last lines of a log. Equal lines are folded into one that counts them. */

import { findLogLevel } from "./log_level.ts";
import type { EventOf, LogEntryLine, LogLevel, NodeId, PipelineId } from "./wire.ts";

/** Default number of lines: what a person reads in a panel. */
const KEPT_LINES = 200;
/** Equal lines are folded within this time. Later, a line is news again. */
const FOLD_WINDOW_MS = 30_000;

export interface BufferedLine {
  readonly nodeId: NodeId;
  readonly pipelineId: PipelineId;
  /** When the first one was read. */
  readonly at: number;
  /** When the last one was read. */
  readonly lastAt: number;
  readonly stream: LogEntryLine["stream"];
  /** The level that the agent found, or the one that the line says. */
  readonly level: LogLevel | undefined;
  /** The text. */
  readonly line: string;
  /** How many lines it stands for. */
  readonly count: number;
}

export class LogBuffer {
  readonly #keptLines: number;
  #lines: readonly BufferedLine[] = [];

  constructor(keptLines = KEPT_LINES) {
    this.#keptLines = keptLines;
  }

  /** The lines, oldest first. The same array until a line is added. */
  get lines(): readonly BufferedLine[] {
    return this.#lines;
  }

  /** Adds the lines of an event. */
  add({ nodeId, pipelineId, entries }: Omit<EventOf<"log_entry">, "type">): void {
    const lines = [...this.#lines];
    for (const { at, stream, level, line } of entries) {
      const one = { nodeId, pipelineId, at, lastAt: at, stream, level: level ?? findLogLevel(line), line, count: 1 };
      const same = lines.findLastIndex((known) => isSame(known, one));
      const known = lines[same];
      // A folded line stays at its place, so that lines do not move while a person reads them.
      if (known === undefined) lines.push(one);
      else lines[same] = { ...known, lastAt: Math.max(known.lastAt, at), count: known.count + 1 };
    }
    this.#lines = lines.slice(-this.#keptLines);
  }

  clear(): void {
    this.#lines = [];
  }
}

function isSame(known: BufferedLine, one: BufferedLine): boolean {
  return (
    Math.abs(one.at - known.lastAt) <= FOLD_WINDOW_MS &&
    known.level === one.level &&
    known.nodeId === one.nodeId &&
    known.pipelineId === one.pipelineId &&
    // The whole text: lines with a long common beginning often differ in the part that matters.
    known.line === one.line
  );
}
