/** The last lines of a log, with repeated ones folded into one that counts them. */

import { findLogLevel } from "./log_level.ts";
import type { EventOf, LogEntryLine, LogLevel, NodeId, PipelineId } from "./wire.ts";

/** Lines kept, unless told otherwise. */
const KEPT_LINES = 200;
/** Lines whose first so many characters are the same are the same line. */
const COMPARED_CHARACTERS = 80;
/** Lines further apart are two. */
const FOLDED_MS = 30_000;

export interface BufferedLine {
  readonly nodeId: NodeId;
  readonly pipelineId: PipelineId;
  /** When the first of them was read. */
  readonly at: number;
  /** When the last of them was read. */
  readonly lastAt: number;
  readonly stream: LogEntryLine["stream"];
  /** What the agent read from the line, or else what it says itself. */
  readonly level: LogLevel | undefined;
  /** The first of them. */
  readonly line: string;
  /** How many they are. */
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

  /** Takes the lines of an event. */
  add({ nodeId, pipelineId, entries }: Omit<EventOf<"log_entry">, "type">): void {
    const lines = [...this.#lines];
    for (const { at, stream, level, line } of entries) {
      const one = { nodeId, pipelineId, at, lastAt: at, stream, level: level ?? findLogLevel(line), line, count: 1 };
      const same = lines.findLastIndex((known) => isSame(known, one));
      const known = lines[same];
      // A folded line stays where its first one stood, so that lines do not jump while one reads them.
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
    Math.abs(one.at - known.lastAt) <= FOLDED_MS &&
    known.level === one.level &&
    known.nodeId === one.nodeId &&
    known.pipelineId === one.pipelineId &&
    head(known.line) === head(one.line)
  );
}

function head(line: string): string {
  return line.slice(0, COMPARED_CHARACTERS);
}
