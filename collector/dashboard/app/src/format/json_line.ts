/** A line of JSON in the order in which a person reads it: the message, and then the fields. */

export interface JsonLine {
  message: string;
  fields: readonly [string, string][];
  value: Record<string, unknown>;
}

const MESSAGE = ["message", "msg", "event", "log"];
/** Time and level have columns of their own. */
const SKIPPED = new Set(["level", "lvl", "severity", "timestamp", "time", "ts", "@timestamp"]);

export function parseJsonLine(line: string): JsonLine | undefined {
  const text = line.trimStart();
  if (!text.startsWith("{")) return undefined;
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    // A line that was cut.
    return undefined;
  }
  if (typeof value !== "object" || value === null) return undefined;
  const record = value as Record<string, unknown>;
  const name = MESSAGE.find((known) => typeof record[known] === "string");
  const fields = Object.entries(record)
    .filter(([key]) => key !== name && !SKIPPED.has(key))
    .map(([key, field]): [string, string] => [key, typeof field === "string" ? field : JSON.stringify(field)]);
  return { message: name === undefined ? "" : String(record[name]), fields, value: record };
}
