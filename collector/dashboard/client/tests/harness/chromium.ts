/**
 * A real Chromium, spoken to in the DevTools protocol over two pipes: JSON that ends with NUL, in both directions.
 * No library for it, because four commands are all that is needed.
 */

import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Readable, Writable } from "node:stream";
import { eventually } from "./eventually.ts";

const PROGRAM = process.env.CHROMIUM ?? "chromium";

/** Runs as root, without a screen, and talks to the test only. */
const OPTIONS = [
  "--headless=new",
  "--no-sandbox",
  "--disable-gpu",
  "--disable-dev-shm-usage",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-extensions",
  "--no-first-run",
  "--remote-debugging-pipe",
];

interface Answer {
  id?: number;
  result?: unknown;
  error?: { message: string };
}

export class Chromium {
  readonly #process: ChildProcess;
  readonly #directory: string;
  readonly #commands: Writable;
  readonly #waiting = new Map<number, { resolve: (result: unknown) => void; reject: (error: Error) => void }>();
  #lastId = 0;

  private constructor() {
    this.#directory = mkdtempSync(join(tmpdir(), "systole-chromium-"));
    this.#process = spawn(PROGRAM, [...OPTIONS, `--user-data-dir=${this.#directory}`, "about:blank"], {
      stdio: ["ignore", "ignore", "ignore", "pipe", "pipe"],
    });
    this.#commands = this.#process.stdio[3] as Writable;
    const answers = this.#process.stdio[4] as Readable;
    let rest = "";
    answers.setEncoding("utf8").on("data", (text: string) => {
      const messages = (rest + text).split("\0");
      rest = messages.pop() ?? "";
      for (const message of messages) this.#take(JSON.parse(message) as Answer);
    });
    const end = (error: Error) => {
      for (const { reject } of this.#waiting.values()) reject(error);
      this.#waiting.clear();
    };
    this.#process.on("error", end);
    this.#process.on("exit", (code) => end(new Error(`${PROGRAM} ended with ${code}`)));
    this.#commands.on("error", end);
  }

  static async start(): Promise<Chromium> {
    const browser = new Chromium();
    await browser.send("Browser.getVersion");
    return browser;
  }

  /** Opens a tab with this page and waits until it is there. */
  async open(url: string): Promise<Tab> {
    const { targetId } = await this.send<{ targetId: string }>("Target.createTarget", { url });
    const { sessionId } = await this.send<{ sessionId: string }>("Target.attachToTarget", { targetId, flatten: true });
    const tab = new Tab(this, targetId, sessionId);
    // A tab begins as an empty page, which is complete, too; what is asked while it leaves is never answered.
    const isThere = `location.href === ${JSON.stringify(url)} && document.readyState === "complete"`;
    await eventually(`${url} is open`, () => tab.evaluate<boolean>(isThere).catch(() => false));
    return tab;
  }

  send<T>(method: string, params: object = {}, sessionId?: string): Promise<T> {
    this.#lastId += 1;
    const id = this.#lastId;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve: resolve as (result: unknown) => void, reject });
      this.#commands.write(`${JSON.stringify({ id, method, params, sessionId })}\0`);
    });
  }

  #take({ id, result, error }: Answer): void {
    const waiting = id === undefined ? undefined : this.#waiting.get(id);
    if (id === undefined || waiting === undefined) return;
    this.#waiting.delete(id);
    if (error === undefined) waiting.resolve(result);
    else waiting.reject(new Error(error.message));
  }

  async close(): Promise<void> {
    // Not killed: its other processes would continue to write into the directory.
    await this.send("Browser.close").catch(() => {});
    await eventually("the browser ends", () => this.#process.exitCode !== null || this.#process.signalCode !== null);
    rmSync(this.#directory, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 });
  }
}

interface Evaluated {
  result: { value: unknown };
  exceptionDetails?: { exception?: { description?: string }; text: string };
}

export class Tab {
  readonly #browser: Chromium;
  readonly #targetId: string;
  readonly #sessionId: string;

  constructor(browser: Chromium, targetId: string, sessionId: string) {
    this.#browser = browser;
    this.#targetId = targetId;
    this.#sessionId = sessionId;
  }

  /** The value of an expression in the page, waited for if it is a promise. */
  async evaluate<T>(expression: string): Promise<T> {
    const params = { expression, awaitPromise: true, returnByValue: true };
    const { result, exceptionDetails } = await this.#browser.send<Evaluated>(
      "Runtime.evaluate",
      params,
      this.#sessionId,
    );
    if (exceptionDetails !== undefined) {
      throw new Error(exceptionDetails.exception?.description ?? exceptionDetails.text);
    }
    return result.value as T;
  }

  async close(): Promise<void> {
    await this.#browser.send("Target.closeTarget", { targetId: this.#targetId });
  }
}
