import { expect, test } from "vitest";
import { hasAnsi, parseAnsi, withoutAnsi } from "../../src/format/ansi.ts";
import { parseJsonLine } from "../../src/format/json_line.ts";
import { bytes, count, delivered, rate, short } from "../../src/format/numbers.ts";
import { ago, duration } from "../../src/format/times.ts";

test("numbers have three digits and a unit", () => {
  const texts = [0, 0.2, 9.999, 12.34, 999.4, 999.6, 1_234, 45_600, 999_960, 2.5e9, -1_500].map(short);
  expect(texts).toEqual(["0", "0.2", "10", "12.3", "999", "1 k", "1.23 k", "45.6 k", "1 M", "2.5 G", "-1.5 k"]);
  expect([rate(undefined), rate(null), rate(Number.NaN), rate(0), rate(5_440)]).toEqual([
    "–",
    "–",
    "–",
    "0/s",
    "5.44 k/s",
  ]);
  expect([bytes(0), bytes(999), bytes(1_536), bytes(16 * 2 ** 30)]).toEqual(["0 B", "999 B", "1.5 KiB", "16 GiB"]);
  expect(count(1_234_567)).toBe("1\u202f234\u202f567");
});

test("a share below one is never rounded up to all", () => {
  expect([1, 0.999, 0.9999, 0.99999, 0.9999999, 0.5, 0, null].map((share) => delivered(share))).toEqual([
    "100 %",
    "99.9 %",
    "99.99 %",
    "99.999 %",
    "99.99999 %",
    "50.0 %",
    "0.0 %",
    "–",
  ]);
});

test("lengths of time have two units", () => {
  expect([400, 59_000, 90_000, 3_600_000, 5_400_000, 90_000_000, 864_000_000].map(duration)).toEqual([
    "0 s",
    "59 s",
    "1 min 30 s",
    "1 h",
    "1 h 30 min",
    "1 d 1 h",
    "10 d",
  ]);
  expect([ago(1_000, 1_500), ago(0, 65_000)]).toEqual(["now", "1 min 5 s ago"]);
});

test("colours become classes, and other sequences leave", () => {
  const line =
    "a\u001b[1;31mred\u001b[0m\u001b[2K b\u001b]0;title\u0007c\u001b[38;5;12mblue\u001b[38;2;1;2;3mown\u001b[39m";
  expect(parseAnsi(line)).toEqual([
    { text: "a", className: "" },
    { text: "red", className: "ansi-1 ansi-bold" },
    { text: " b", className: "" },
    { text: "c", className: "" },
    { text: "blue", className: "ansi-12" },
    { text: "own", className: "" },
  ]);
  expect(withoutAnsi(line)).toBe("ared bcblueown");
  expect(hasAnsi("plain")).toBe(false);
});

test("a line of JSON begins with its message", () => {
  expect(parseJsonLine('{"level":"info","msg":"stored","id":7,"tags":["a"]}')).toMatchObject({
    message: "stored",
    fields: [
      ["id", "7"],
      ["tags", '["a"]'],
    ],
  });
  expect(parseJsonLine('{"cut":')).toBeUndefined();
  expect(parseJsonLine("plain")).toBeUndefined();
});
