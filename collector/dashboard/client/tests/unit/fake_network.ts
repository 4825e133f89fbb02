/** A network in which the test is the server. */

import { OpenFeed } from "../../src/connect.ts";
import type { ConnectOptions } from "../../src/options.ts";
import type { FeedState, StateDetail } from "../../src/state.ts";
import type { TabServices } from "../../src/tabs.ts";
import type { OpenStream, StreamHandlers, StreamRequest } from "../../src/transport.ts";
import type { AnyEvent, FeedEvent, Gap, Reset } from "../../src/wire.ts";

/** One stream that was asked for. */
export class FakeStream {
  readonly request: StreamRequest;
  isClosed = false;
  readonly #handlers: StreamHandlers;

  constructor(request: StreamRequest, handlers: StreamHandlers) {
    this.request = request;
    this.#handlers = handlers;
  }

  get wantsSnapshot(): boolean {
    return this.request.url.searchParams.get("snapshot") === "1";
  }

  /** Answers, and says hello. */
  greet(hello: { epoch?: string; head?: number; resumed?: boolean; pingMs?: number } = {}): this {
    this.#handlers.onOpen();
    const { epoch = "e", head = 0, resumed = this.request.after !== undefined, pingMs = 10_000 } = hello;
    return this.send({ type: "hello", epoch, head, oldest: 0, pingMs, server: "fake", resumed });
  }

  send(event: AnyEvent | { type: string }, id?: string, inherited = false): this {
    if (this.isClosed) return this;
    this.#handlers.onActivity();
    this.#handlers.onEvent({ type: event.type, data: JSON.stringify(event), id, inherited });
    return this;
  }

  sendText(type: string, data: string, id?: string): void {
    this.#handlers.onEvent({ type, data, id, inherited: false });
  }

  sendId(id: string): this {
    if (!this.isClosed) this.#handlers.onId(id);
    return this;
  }

  retry(ms: number): this {
    this.#handlers.onRetry(ms);
    return this;
  }

  end(reason = "cut"): void {
    if (this.isClosed) return;
    this.isClosed = true;
    this.#handlers.onEnd({ kind: "ended", reason });
  }

  refuse(status: number, retryAfterMs?: number): void {
    this.isClosed = true;
    this.#handlers.onEnd({ kind: "refused", status, reason: `HTTP ${status}`, retryAfterMs });
  }
}

export class FakeNetwork {
  readonly streams: FakeStream[] = [];

  readonly open: OpenStream = (request, handlers) => {
    const stream = new FakeStream(request, handlers);
    this.streams.push(stream);
    return () => {
      stream.isClosed = true;
    };
  };

  /** The last stream that was asked for. */
  get last(): FakeStream {
    const stream = this.streams.at(-1);
    if (stream === undefined) throw new Error("no stream was asked for");
    return stream;
  }

  get openStreams(): FakeStream[] {
    return this.streams.filter((stream) => !stream.isClosed);
  }
}

/** A feed that records what it delivers. */
export class Witness {
  readonly events: AnyEvent[] = [];
  readonly ids: (string | undefined)[] = [];
  readonly states: FeedState[] = [];
  readonly details: StateDetail[] = [];
  readonly missing: (Gap | Reset)[] = [];
  readonly feed: OpenFeed;

  constructor(network: FakeNetwork, options: Partial<ConnectOptions> = {}, services?: TabServices) {
    const recorded: ConnectOptions = {
      url: "http://collector.test",
      onEvent: (event, { id }) => {
        this.events.push(event);
        this.ids.push(id);
      },
      onState: (state, detail) => {
        this.states.push(state);
        this.details.push(detail);
      },
      ...options,
    };
    this.feed = new OpenFeed(recorded, network.open, services);
  }

  /** Texts of the lines that came. */
  get lines(): string[] {
    return this.events.flatMap((event) => (event.type === "log_entry" ? event.entries.map(({ line }) => line) : []));
  }

  /** Types of what came, without the control events that every stream has. */
  get types(): string[] {
    return this.events.map(({ type }) => type).filter((type) => type !== "hello" && type !== "ping");
  }
}

export function line(text: string): FeedEvent {
  return {
    type: "log_entry",
    nodeId: "n",
    pipelineId: "p",
    entries: [{ at: 1, stream: "stdout", level: null, line: text }],
  };
}

export function fleetStatus(pipelinesRunning = 1): FeedEvent {
  return { type: "fleet_status", nodeId: "n", status: "HEALTHY", timestamp: 1, pipelinesRunning };
}

export function statusChange(toStatus: string, fromStatus = "UNKNOWN"): FeedEvent {
  return { type: "status_change", nodeId: "n", pipelineId: "p", fromStatus, toStatus, reason: "", timestamp: 1 };
}
