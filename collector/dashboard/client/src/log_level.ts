/**
 * Finds the level of a log line: in a field of a JSON line, or at the beginning of the line. Words further in the line
 * are not used, because `cleared error state` is not an error. The agent does the same; this is for lines without a level.
 */

import type { LogLevel } from "./wire.ts";

/** How many words may precede the level: date, time, zone, a name in brackets. */
const WORDS_BEFORE_LEVEL = 4;

/** Fields that hold a level. The first one in the line counts. */
const FIELDS: ReadonlySet<string> = new Set(["level", "lvl", "severity"]);

const NAMES: ReadonlyMap<string, LogLevel> = new Map([
  ["trace", "TRACE"],
  ["debug", "DEBUG"],
  ["dbg", "DEBUG"],
  ["info", "INFO"],
  ["information", "INFO"],
  ["notice", "INFO"],
  ["warn", "WARN"],
  ["warning", "WARN"],
  ["error", "ERROR"],
  ["err", "ERROR"],
  ["fatal", "ERROR"],
  ["critical", "ERROR"],
  ["crit", "ERROR"],
  ["panic", "ERROR"],
  ["emerg", "ERROR"],
]);

/** Finds the level of a line; returns undefined when there is none. */
export function findLogLevel(line: string): LogLevel | undefined {
  const text = line.trimStart();
  return text.startsWith("{") ? ofJson(text) : ofText(withoutColours(text));
}

/** Reads the name of a level, in upper or lower case. */
export function parseLogLevel(name: string): LogLevel | undefined {
  return NAMES.get(name.toLowerCase());
}

/** A key with its colon, and a value that is not an object or a list. */
const KEY = /\s*"([^"\\]*(?:\\.[^"\\]*)*)"\s*:\s*/y;
const SCALAR = /"[^"\\]*(?:\\.[^"\\]*)*"|[^\s,{}[\]"]+/y;
const COMMA = /\s*,/y;

/** Reads keys until one holds a level. JSON.parse would reject a line that was cut, and use the last of two keys. */
function ofJson(line: string): LogLevel | undefined {
  let at = 1;
  for (;;) {
    const key = matchAt(KEY, line, at);
    if (key === undefined) return undefined;
    at = KEY.lastIndex;
    if (FIELDS.has(String(key[1]).toLowerCase())) return ofValue(matchAt(SCALAR, line, at)?.[0]);
    at = skipValue(line, at);
    if (matchAt(COMMA, line, at) === undefined) return undefined;
    at = COMMA.lastIndex;
  }
}

function matchAt(pattern: RegExp, text: string, at: number): RegExpExecArray | undefined {
  pattern.lastIndex = at;
  return pattern.exec(text) ?? undefined;
}

/** The end of the value that begins at `at`; the end of the text when the value is cut. */
function skipValue(line: string, at: number): number {
  let depth = 0;
  let next = at;
  while (next < line.length) {
    const letter = line.charAt(next);
    if (letter === '"') {
      if (matchAt(SCALAR, line, next) === undefined) return line.length;
      next = SCALAR.lastIndex;
    } else {
      if (depth === 0 && (letter === "," || letter === "}")) return next;
      if (letter === "{" || letter === "[") depth += 1;
      if (letter === "}" || letter === "]") depth -= 1;
      next += 1;
    }
  }
  return next;
}

function ofValue(value: string | undefined): LogLevel | undefined {
  if (value === undefined) return undefined;
  if (value.startsWith('"')) {
    // Vector writes the level as a quoted text inside a text.
    return parseLogLevel(value.replaceAll(/[\\"]/g, ""));
  }
  // The numbers of bunyan and pino.
  const number = /^[0-9]+$/.test(value) ? Number(value) : 0;
  if (number < 10 || number > 60) return undefined;
  return (["TRACE", "DEBUG", "INFO", "WARN", "ERROR", "ERROR"] as const)[Math.floor(number / 10) - 1];
}

function ofText(line: string): LogLevel | undefined {
  let afterTime = false;
  const words = line.split(/[ \t\n\f\r]+/).filter((word) => word !== "");
  for (const word of words.slice(0, WORDS_BEFORE_LEVEL)) {
    const equals = word.indexOf("=");
    if (equals >= 0) {
      const name = word.slice(0, equals);
      if (FIELDS.has(name)) return parseLogLevel(word.slice(equals + 1).replaceAll('"', ""));
      if (!["time", "ts", "timestamp"].includes(name)) return undefined;
      afterTime = true;
      continue;
    }
    const bare = word.replace(/^[[\]()<>:|,-]+|[[\]()<>:|,-]+$/g, "");
    const level = parseLogLevel(bare);
    if (level !== undefined) {
      // "error while …" is a sentence. "error: …", "[error]" and "ERROR" are levels.
      const isMarked = bare.length < word.length || /^[A-Z]+$/.test(bare);
      return isMarked || afterTime ? level : undefined;
    }
    const isTime = /^[0-9]/.test(bare);
    const isName = word.startsWith("[") || word.endsWith("]") || bare === "";
    const isZone = afterTime && ["UTC", "Z", "AM", "PM"].includes(bare);
    if (!(isTime || isName || isZone)) return undefined;
    afterTime ||= isTime;
  }
  return undefined;
}

function withoutColours(line: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: colours begin with a control character
  return line.replace(/\x1b(?:\[[^@-~]*[@-~]?|[^[]|$)/g, "");
}
