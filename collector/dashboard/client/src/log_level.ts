/**
 * How grave a line says it is: from a JSON line's field or the line's beginning, never from any word further in it,
 * because `cleared error state` is no error. The agent reads levels in the same way; this is for lines without one.
 */

import type { LogLevel } from "./wire.ts";

/** Words at the beginning that may stand before the level: date, time, zone, a name in brackets. */
const WORDS_BEFORE_LEVEL = 4;

/** The fields that hold a level; the first that a line has counts. */
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

/** Finds the level of a line; undefined when it says none. */
export function findLogLevel(line: string): LogLevel | undefined {
  const text = line.trimStart();
  return text.startsWith("{") ? ofJson(text) : ofText(withoutColours(text));
}

/** Reads a level by its name, in any case of letters. */
export function parseLogLevel(name: string): LogLevel | undefined {
  return NAMES.get(name.toLowerCase());
}

/** A key with its colon, and a value that is neither object nor list. */
const KEY = /\s*"([^"\\]*(?:\\.[^"\\]*)*)"\s*:\s*/y;
const SCALAR = /"[^"\\]*(?:\\.[^"\\]*)*"|[^\s,{}[\]"]+/y;
const COMMA = /\s*,/y;

/** Reads keys until one holds a level. JSON.parse would refuse a line that was cut, and keep the last of two keys. */
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

/** Where the value that begins at `at` ends; the text's end when it is cut. */
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
    // Vector repeats a level as text in a text.
    return parseLogLevel(value.replaceAll(/[\\"]/g, ""));
  }
  // As bunyan and pino count.
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
      // "error while …" is prose; "error: …", "[error]" and "ERROR" are levels.
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
  // biome-ignore lint/suspicious/noControlCharactersInRegex: colours begin with one
  return line.replace(/\x1b(?:\[[^@-~]*[@-~]?|[^[]|$)/g, "");
}
