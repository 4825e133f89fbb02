import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { EventStreamParser } from "../../src/parser.ts";

const UTF8 = new TextEncoder();

/** All calls of a parser for these pieces, in order. */
function parse(...pieces: (string | Uint8Array)[]): unknown[] {
  const calls: unknown[] = [];
  const parser = new EventStreamParser({
    onEvent: ({ type, data, id }) => calls.push(id === undefined ? [type, data] : [type, data, id]),
    onId: (id) => calls.push({ id }),
    onRetry: (retry) => calls.push({ retry }),
  });
  for (const piece of pieces) parser.push(typeof piece === "string" ? UTF8.encode(piece) : piece);
  return calls;
}

/** Stream, and what it says by the standard. */
const CASES: [name: string, stream: string, calls: unknown[]][] = [
  ["a byte order mark at the beginning is taken off", "\uFEFFdata: a\n\n", [["message", "a"]]],
  ["a second byte order mark is part of a name", "\uFEFF\uFEFFdata: a\n\ndata: b\n\n", [["message", "b"]]],
  ["a byte order mark further in is text", "data: \uFEFFa\n\n", [["message", "\uFEFFa"]]],
  [
    "lines end with LF, CR or CRLF, mixed",
    "data: a\rdata: b\r\ndata: c\n\r\ndata: d\r\r",
    [
      ["message", "a\nb\nc"],
      ["message", "d"],
    ],
  ],
  [
    "CR LF CR LF ends one block and makes no empty one",
    "data: a\r\n\r\nid: 1\r\n\r\n",
    [["message", "a"], { id: "1" }],
  ],
  ["several lines of data are joined by LF", "data: a\ndata\ndata:\ndata: b\n\n", [["message", "a\n\n\nb"]]],
  ["one space after the colon is removed, and no more", "data:a\ndata: b\ndata:  c\n\n", [["message", "a\nb\n c"]]],
  ["an event may have empty data", "event: ping\ndata\n\n", [["ping", ""]]],
  ["two empty lines of data are one LF", "data\ndata\n\ndata:", [["message", "\n"]]],
  ["a block without data is no event and forgets its type", "event: a\n\ndata: b\n\n", [["message", "b"]]],
  [
    "an id belongs to its own block",
    "id: 1\ndata: a\n\ndata: b\n\n",
    [
      ["message", "a", "1"],
      ["message", "b"],
    ],
  ],
  ["an id without data is reported alone", "id: 7\n\n", [{ id: "7" }]],
  ["an empty id is an id", "id\ndata: a\n\nid:\n\n", [["message", "a", ""], { id: "" }]],
  ["of several ids and types the last counts", "id: 1\nid: 2\nevent: a\nevent: b\ndata: x\n\n", [["b", "x", "2"]]],
  ["an id with NUL is skipped", "id: 1\nid: 2\0\ndata: a\n\n", [["message", "a", "1"]]],
  [
    "retry is of digits only",
    "retry: 10\nretry: 1e3\nretry: -1\nretry: 2s\nretry:\nretry\nretry: ١\nretry: 0007\n",
    [{ retry: 10 }, { retry: 7 }],
  ],
  ["comments are skipped", ":\n: data: a\n:data: b\ndata: c\n:\n\n", [["message", "c"]]],
  [
    "unknown fields and upper-case names are skipped",
    "Data: a\n data: b\ndata : c\nfoo: d\ndata: e\n\n",
    [["message", "e"]],
  ],
  ["a colon in a value is text", "data: a: b\nevent: c:d\n\n", [["c:d", "a: b"]]],
  ["the end inside an event drops it", "data: a\n\nid: 2\ndata: b\n", [["message", "a"]]],
  ["the end inside a line drops it", "data: a\n\nid: 2\n\ndata", [["message", "a"], { id: "2" }]],
  ["a CR as the last character ends the line", "data: a\r\r", [["message", "a"]]],
  ["characters of two, three and four bytes", "data: äöü €—… 😀🫀\n\n", [["message", "äöü €—… 😀🫀"]]],
  ["other line ends of Unicode are text", "data: a\u2028b\u0085c\vd\n\n", [["message", "a\u2028b\u0085c\vd"]]],
];

describe("a stream of the standard", () => {
  test.each(CASES)("%s", (_name, stream, calls) => {
    expect(parse(stream)).toEqual(calls);
  });

  test.each(CASES)("%s, cut at every border of two bytes", (_name, stream, calls) => {
    const bytes = UTF8.encode(stream);
    for (let at = 0; at <= bytes.length; at += 1) expect(parse(bytes.slice(0, at), bytes.slice(at))).toEqual(calls);
  });

  test.each(CASES)("%s, byte by byte with empty pieces between", (_name, stream, calls) => {
    const pieces = [...UTF8.encode(stream)].flatMap((byte) => [Uint8Array.of(byte), new Uint8Array()]);
    expect(parse(...pieces)).toEqual(calls);
  });
});

test("bytes that are no UTF-8 are replaced and cost nothing else", () => {
  const stream = Uint8Array.of(...UTF8.encode("data: a"), 0xff, 0xe2, 0x82, ...UTF8.encode("b\n\ndata: c\n\n"));
  expect(parse(stream)).toEqual([
    ["message", "a\uFFFD\uFFFDb"],
    ["message", "c"],
  ]);
});

test("a stream says the same however it is cut", () => {
  const line = fc.oneof(
    fc.constantFrom("data: ä€😀", "data", "event: x", "id: e-1", "id: a\0", "retry: 5", ": c", "", "", "\uFEFF", "x"),
    fc.string({ unit: "grapheme", maxLength: 8 }),
  );
  const stream = fc.array(fc.tuple(line, fc.constantFrom("\n", "\r", "\r\n")), { maxLength: 30 });
  fc.assert(
    fc.property(stream, fc.array(fc.nat(300)), (lines, cuts) => {
      const bytes = UTF8.encode(lines.flat().join(""));
      const borders = [0, ...cuts.filter((cut) => cut < bytes.length).sort((a, b) => a - b), bytes.length];
      const pieces = borders.slice(1).map((border, i) => bytes.slice(borders[i], border));
      expect(parse(...pieces)).toEqual(parse(bytes));
    }),
    { seed: 5, numRuns: 300 },
  );
});
