/**
 * What the page costs a browser with a large fleet: time to the first view, script time, bytes and memory.
 *
 * `node bench/dashboard.mjs --nodes 10000 --flapping 2000 --seconds 300` starts a collector and a fleet of its own, out of
 * `--target` (default: target/release of this repository). `--url … --token …` measures a collector that runs.
 */

import { execFileSync, spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { chromium } from "playwright-core";

/** What must hold with 10,000 nodes. */
const LIMITS = { firstViewMs: 2_000, scriptShare: 0.1, bytesPerSecond: 50_000, heapGrowth: 0.1 };
/** The page has settled then: the first answers are there. */
const SETTLE_MS = 15_000;
const MINUTE_MS = 60_000;

const { values: options } = parseArgs({
  options: {
    url: { type: "string" },
    token: { type: "string" },
    target: { type: "string", default: join(import.meta.dirname, "../../../../target/release") },
    nodes: { type: "string", default: "10000" },
    pipelines: { type: "string", default: "10" },
    flapping: { type: "string", default: "0" },
    seconds: { type: "string", default: "300" },
    view: { type: "string", default: "/" },
    json: { type: "string" },
    screenshot: { type: "string" },
  },
});
const seconds = Number(options.seconds);
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const say = (text) => process.stderr.write(`${text}\n`);

async function freePort() {
  const server = createServer();
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** A collector on a database of its own with a fleet that reports; `stop` ends both. */
async function startFleet() {
  const directory = mkdtempSync(join(tmpdir(), "systole-bench-page-"));
  const program = join(options.target, "systole-collector");
  const listen = `127.0.0.1:${await freePort()}`;
  const url = `http://${listen}`;
  const children = [];
  const stop = async () => {
    for (const child of children.reverse()) {
      if (child.exitCode !== null) continue;
      const gone = new Promise((resolve) => child.once("exit", resolve));
      child.kill("SIGKILL");
      await gone;
    }
    rmSync(directory, { recursive: true, force: true });
  };
  process.once("exit", () => {
    for (const child of children) child.kill("SIGKILL");
  });
  const collector = spawn(program, ["serve", "--listen", listen, "--data-dir", directory], {
    stdio: ["ignore", "ignore", "inherit"],
    env: {
      ...process.env,
      SYSTOLE_LOG_LEVEL: "error",
      SYSTOLE_MAX_ENROLMENTS_PER_MINUTE: "0",
      SYSTOLE_MAX_LOG_LINES_PER_SECOND: "0",
    },
  });
  children.push(collector);
  await until("the collector answers", async () => (await fetch(`${url}/readyz`).catch(() => undefined))?.ok);
  const createToken = (kind) => {
    const command = ["token", "create", "--kind", kind, "--json", "--data-dir", directory];
    return JSON.parse(execFileSync(program, command, { encoding: "utf8" })).token;
  };
  const token = createToken("viewer");
  const load = [
    ...["--url", url, "--nodes", options.nodes, "--pipelines", options.pipelines, "--flapping", options.flapping],
    ...["--mode", "open", "--interval-ms", "5000", "--warm-up", "0", "--seconds", String(seconds + 600), "--quiet"],
  ];
  children.push(
    spawn(join(options.target, "systole-bench"), load, {
      stdio: ["ignore", "ignore", "inherit"],
      env: { ...process.env, SYSTOLE_ENROLL_TOKEN: createToken("enroll") },
    }),
  );
  say(`enrolling ${options.nodes} nodes`);
  await until("every node has reported", async () => {
    const answer = await fetch(`${url}/api/v1/fleet/map`, { headers: { Authorization: `Bearer ${token}` } });
    const { total, states, stateNames } = await answer.json();
    const silent = stateNames.findIndex(({ worstPipeline }) => worstPipeline === null);
    return total >= Number(options.nodes) && !states.includes(silent);
  });
  return { url, token, stop };
}

async function until(what, isTrue, limitMs = 300_000) {
  const end = Date.now() + limitMs;
  while (!(await isTrue())) {
    if (Date.now() > end) throw new Error(`not within ${limitMs / 1_000} s: ${what}`);
    await sleep(500);
  }
}

/** Counts what the page receives. A stream that is not over has no size of its own: its parts are added up. */
function countBytes(session) {
  const streams = new Map();
  let finished = 0;
  session.on("Network.dataReceived", ({ requestId, dataLength, encodedDataLength }) => {
    streams.set(requestId, (streams.get(requestId) ?? 0) + (encodedDataLength || dataLength));
  });
  session.on("Network.loadingFinished", ({ requestId, encodedDataLength }) => {
    finished += encodedDataLength || (streams.get(requestId) ?? 0);
    streams.delete(requestId);
  });
  return () => finished + [...streams.values()].reduce((sum, bytes) => sum + bytes, 0);
}

async function measure(url, token) {
  const browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking"],
  });
  try {
    const context = await browser.newContext({ viewport: { width: 1360, height: 860 } });
    const page = await context.newPage();
    const problems = [];
    page.on("pageerror", ({ message }) => problems.push(message));
    const session = await context.newCDPSession(page);
    await session.send("Performance.enable");
    await session.send("Network.enable");
    const received = countBytes(session);
    const metrics = async () => {
      const { metrics: list } = await session.send("Performance.getMetrics");
      return Object.fromEntries(list.map(({ name, value }) => [name, value]));
    };
    const heap = async () => {
      await session.send("HeapProfiler.collectGarbage");
      return (await metrics()).JSHeapUsedSize;
    };
    const begin = performance.now();
    await page.goto(`${url}/#token=${token}&to=${encodeURIComponent(options.view)}`);
    await page.locator("tbody tr:not(.space, .group)").first().waitFor({ timeout: 60_000 });
    const firstViewMs = performance.now() - begin;
    const firstViewBytes = received();
    say(`first view after ${Math.round(firstViewMs)} ms`);
    await sleep(SETTLE_MS);
    const minutes = [];
    for (let left = seconds * 1_000; left > 0; left -= MINUTE_MS) {
      const length = Math.min(left, MINUTE_MS);
      const [before, bytesBefore, at] = [await metrics(), received(), performance.now()];
      await sleep(length);
      const [after, bytes, passed] = [await metrics(), received() - bytesBefore, (performance.now() - at) / 1_000];
      const share = (name) => (after[name] - before[name]) / passed;
      minutes.push({
        scriptShare: share("ScriptDuration"),
        taskShare: share("TaskDuration"),
        bytesPerSecond: bytes / passed,
        heapBytes: await heap(),
        domNodes: after.Nodes,
      });
      const { scriptShare, taskShare, bytesPerSecond, heapBytes } = minutes.at(-1);
      say(
        `minute ${minutes.length}: script ${percent(scriptShare)}, tasks ${percent(taskShare)}, ` +
          `${(bytesPerSecond / 1_000).toFixed(1)} KB/s, heap ${(heapBytes / 1e6).toFixed(1)} MB`,
      );
    }
    if (options.screenshot !== undefined) await page.screenshot({ path: options.screenshot });
    return { firstViewMs, firstViewBytes, minutes, problems };
  } finally {
    await browser.close();
  }
}

const percent = (share) => `${(share * 100).toFixed(1)} %`;

function report({ firstViewMs, firstViewBytes, minutes, problems }) {
  const mean = (pick) => minutes.reduce((sum, minute) => sum + pick(minute), 0) / minutes.length;
  const scriptShare = mean((minute) => minute.scriptShare);
  const bytesPerSecond = mean((minute) => minute.bytesPerSecond);
  const heapGrowth = minutes.at(-1).heapBytes / minutes[0].heapBytes - 1;
  const rows = [
    ["First view with rows", `${Math.round(firstViewMs)} ms`, firstViewMs <= LIMITS.firstViewMs],
    ["Received until then", `${(firstViewBytes / 1_000).toFixed(0)} KB`, true],
    ["Script time", percent(scriptShare), scriptShare <= LIMITS.scriptShare],
    ["All tasks of the page", percent(mean((minute) => minute.taskShare)), true],
    ["Received", `${(bytesPerSecond / 1_000).toFixed(1)} KB/s`, bytesPerSecond <= LIMITS.bytesPerSecond],
    ["Heap, first minute", `${(minutes[0].heapBytes / 1e6).toFixed(1)} MB`, true],
    ["Heap, last minute", `${(minutes.at(-1).heapBytes / 1e6).toFixed(1)} MB`, heapGrowth <= LIMITS.heapGrowth],
    ["Exceptions in the page", String(problems.length), problems.length === 0],
  ];
  const nodes = options.url === undefined ? `${options.nodes} nodes × ${options.pipelines}` : options.url;
  process.stdout.write(`The page ${options.view}, ${nodes}, ${options.flapping} of them flapping, ${seconds} s\n`);
  for (const [name, value, isMet] of rows)
    process.stdout.write(`  ${name.padEnd(24)} ${value.padStart(10)}${isMet ? "" : "   above its limit"}\n`);
  for (const problem of problems.slice(0, 5)) process.stdout.write(`  ${problem}\n`);
  return rows.every(([, , isMet]) => isMet);
}

const fleet = options.url === undefined ? await startFleet() : undefined;
try {
  const outcome = await measure(options.url ?? fleet.url, options.token ?? fleet.token);
  if (options.json !== undefined) writeFileSync(options.json, JSON.stringify({ options, ...outcome }, null, 2));
  if (!report(outcome)) process.exitCode = 1;
} finally {
  await fleet?.stop();
}
