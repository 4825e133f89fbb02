/** The program of README's section "Node", killed at any moment, against the real collector. */

import { type ChildProcess, spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { type NewToken, TestCollector } from "../harness/collector.ts";
import { eventually } from "../harness/eventually.ts";

const PACKAGE = join(import.meta.dirname, "../..");

/** Writes each line to a file: at its begin, and at its end. Some events take longer than those after them. */
const HANDLE = `
import { existsSync } from "node:fs";
import { appendFile } from "node:fs/promises";
import { setTimeout } from "node:timers/promises";
export async function handle(event) {
  if (event.type === "snapshot") await appendFile("handled", "snapshot\\n");
  if (event.type !== "log_entry") return;
  const text = event.entries.map(({ line }) => line + "\\n").join("");
  await appendFile("begun", text);
  if (text === "poison\\n" && !existsSync("repaired")) throw new Error("this line cannot be handled");
  await setTimeout(text.endsWith("0\\n") || text.endsWith("5\\n") ? 100 : 5);
  await appendFile("handled", text);
}`;

let collector: TestCollector;
let viewer: NewToken;
let directory: string;
let program: ChildProcess | undefined;

beforeEach(async () => {
  collector = await TestCollector.start();
  viewer = await collector.createToken("viewer");
  directory = mkdtempSync(join(tmpdir(), "systole-recipe-"));
  const [, recipe] =
    /\n## Node\n[\s\S]*?```js\n([\s\S]*?)```/.exec(readFileSync(join(PACKAGE, "README.md"), "utf8")) ?? [];
  if (recipe === undefined) throw new Error("README has no program for Node");
  mkdirSync(join(directory, "node_modules/@systole"), { recursive: true });
  symlinkSync(PACKAGE, join(directory, "node_modules/@systole/client"));
  writeFileSync(join(directory, "package.json"), '{"type": "module"}');
  writeFileSync(join(directory, "handle.js"), HANDLE);
  writeFileSync(join(directory, "recipe.js"), recipe);
});

afterEach(async () => {
  await end("SIGKILL");
  await collector.remove();
  rmSync(directory, { recursive: true, force: true });
});

function begin(): void {
  const env = { ...process.env, SYSTOLE_URL: collector.url, SYSTOLE_TOKEN: viewer.token };
  program = spawn(process.execPath, ["recipe.js"], { cwd: directory, env, stdio: ["ignore", "inherit", "ignore"] });
}

async function end(signal: NodeJS.Signals): Promise<void> {
  const child = program;
  program = undefined;
  if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
  const exited = new Promise<void>((resolve) => child.once("exit", () => resolve()));
  child.kill(signal);
  await exited;
}

function linesOf(file: string): string[] {
  try {
    return readFileSync(join(directory, file), "utf8").split("\n").slice(0, -1);
  } catch {
    return [];
  }
}

test("every line is handled over kills of the program, and only those that it handled then are repeated", async () => {
  const node = await collector.enroll("host");
  await node.report({ id: "a" });
  begin();
  await eventually("the position of the snapshot is saved", () => linesOf("handled").includes("snapshot"));
  const expected: string[] = [];
  const kills = 5;
  for (let kill = 0; kill < kills; kill += 1) {
    const begun = new Set(linesOf("begun")).size;
    for (let i = 0; i < 20; i += 1) {
      const line = `${kill}.${i}`;
      expected.push(line);
      await node.report({ id: "a", lines: [line] });
    }
    await eventually("some lines are being handled", () => new Set(linesOf("begun")).size > begun + 3);
    await end("SIGKILL");
    begin();
  }
  await eventually("the last line is handled", () => linesOf("handled").includes(expected.at(-1) ?? ""));
  const lines = linesOf("handled").filter((line) => line !== "snapshot");
  expect([...new Set(lines)]).toEqual(expected);
  expect(lines.length).toBeLessThanOrEqual(expected.length + kills);
  // An ordered end waits for the handler that runs, and then nothing is repeated.
  await node.report({ id: "a", lines: ["last"] });
  await eventually("the last line is being handled", () => linesOf("begun").includes("last"));
  await end("SIGTERM");
  expect(linesOf("handled").at(-1)).toBe("last");
});

test("a handler that rejects ends the program, and the next run handles the event again", async () => {
  const node = await collector.enroll("host");
  begin();
  await eventually("the snapshot is handled", () => linesOf("handled").includes("snapshot"));
  for (const line of ["good", "poison", "next"]) await node.report({ id: "a", lines: [line] });
  await eventually("the program has ended", () => program?.exitCode === 1);
  expect(linesOf("handled")).toEqual(["snapshot", "good"]);
  writeFileSync(join(directory, "repaired"), "");
  begin();
  await eventually("the last line is handled", () => linesOf("handled").includes("next"));
  expect(linesOf("handled")).toEqual(["snapshot", "good", "poison", "next"]);
});
