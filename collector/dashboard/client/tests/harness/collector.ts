/** A real collector with a directory of its own, which can be killed, started again and wiped. */

import { type ChildProcess, execFile, spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { eventually } from "./eventually.ts";
import { TestNode } from "./node.ts";

const TARGET = process.env.CARGO_TARGET_DIR ?? join(import.meta.dirname, "../../../../../target");
const PROGRAM = join(TARGET, "debug/systole-collector");

export interface NewToken {
  id: string;
  token: string;
}

export class TestCollector {
  readonly url: string;
  readonly #listen: string;
  readonly #directory: string;
  #process: ChildProcess | undefined;
  #isWiped = false;

  private constructor(listen: string, directory: string) {
    this.#listen = listen;
    this.url = `http://${listen}`;
    this.#directory = directory;
  }

  /** Starts one on a free port with an empty database. */
  static async start(): Promise<TestCollector> {
    const directory = mkdtempSync(join(tmpdir(), "systole-client-"));
    const collector = new TestCollector(`127.0.0.1:${await freePort()}`, directory);
    await collector.startAgain();
    return collector;
  }

  /** On the same port, with what is in its directory. */
  async startAgain(): Promise<void> {
    // An operator accepts the empty database in place of the one that was removed.
    const init = this.#isWiped ? ["--init"] : [];
    this.#isWiped = false;
    const child = spawn(PROGRAM, ["serve", ...init, "--listen", this.#listen, "--data-dir", this.#directory], {
      stdio: ["ignore", "ignore", "pipe"],
      env: { ...process.env, SYSTOLE_CORS_ORIGINS: "*" },
    });
    this.#process = child;
    // A test program that is stopped must not leave it running.
    const killWithMe = () => child.kill("SIGKILL");
    process.once("exit", killWithMe);
    child.once("exit", () => process.off("exit", killWithMe));
    let words = "";
    child.stderr.on("data", (text) => {
      words = `${words}${text}`.slice(-10_000);
    });
    let failure: Error | undefined;
    child.on("error", (error) => {
      failure = error;
    });
    await eventually("the collector answers", async () => {
      if (failure !== undefined) throw failure;
      if (child.exitCode !== null) throw new Error(`the collector ended with ${child.exitCode}: ${words}`);
      const answer = await fetch(`${this.url}/readyz`).catch(() => undefined);
      return answer?.status === 200;
    });
  }

  /** Ends it with SIGKILL. */
  async kill(): Promise<void> {
    await this.#end("SIGKILL");
  }

  /** Ends it as an operator does. */
  async stop(): Promise<void> {
    await this.#end("SIGTERM");
  }

  /** Ends it for good. */
  async remove(): Promise<void> {
    await this.kill();
    rmSync(this.#directory, { recursive: true, force: true });
  }

  /** Takes the database of one that does not run. */
  wipe(): void {
    this.#isWiped = true;
    for (const suffix of ["", "-wal", "-shm"]) rmSync(join(this.#directory, `collector.db${suffix}`), { force: true });
  }

  async #end(signal: NodeJS.Signals): Promise<void> {
    const child = this.#process;
    this.#process = undefined;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const gone = new Promise<void>((resolve) => child.once("exit", () => resolve()));
    child.kill(signal);
    await gone;
  }

  async createToken(kind: "viewer" | "operator" | "admin" | "enroll"): Promise<NewToken> {
    return JSON.parse(await this.#run("token", "create", "--kind", kind, "--json")) as NewToken;
  }

  async revoke(token: NewToken): Promise<void> {
    await this.#run("token", "revoke", token.id);
  }

  async #run(...command: string[]): Promise<string> {
    const { stdout } = await promisify(execFile)(PROGRAM, [...command, "--data-dir", this.#directory]);
    return stdout;
  }

  /** Enrols a host. */
  async enroll(hostname: string): Promise<TestNode> {
    return TestNode.enroll(this.url, await this.createToken("enroll"), hostname);
  }
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  if (address === null || typeof address === "string") throw new Error("a listener on TCP has a port");
  return address.port;
}
