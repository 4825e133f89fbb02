/** A feed that records what it delivers. */

import {
  type AnyEvent,
  type ConnectOptions,
  connect,
  type Feed,
  type FeedState,
  isFeedEvent,
  type StateDetail,
} from "../../src/index.ts";
import { eventually } from "./eventually.ts";

export class Recorder {
  readonly events: AnyEvent[] = [];
  /** Events of the fleet without an id. */
  readonly withoutId: AnyEvent[] = [];
  readonly states: FeedState[] = [];
  readonly details: StateDetail[] = [];
  readonly feed: Feed;

  constructor(options: Omit<ConnectOptions, "onEvent" | "onState">) {
    this.feed = connect({
      ...options,
      onEvent: (event, { id }) => {
        this.events.push(event);
        if (id === undefined && isFeedEvent(event)) this.withoutId.push(event);
      },
      onState: (state, detail) => {
        this.states.push(state);
        this.details.push(detail);
      },
    });
  }

  /** Texts of the lines that came, in order. */
  get lines(): string[] {
    return this.events.flatMap((event) => (event.type === "log_entry" ? event.entries.map(({ line }) => line) : []));
  }

  ofType<T extends AnyEvent["type"]>(type: T): Extract<AnyEvent, { type: T }>[] {
    return this.events.filter((event) => event.type === type) as Extract<AnyEvent, { type: T }>[];
  }

  async becomes(state: FeedState): Promise<void> {
    await eventually(`the feed is ${state} (it was ${this.states.join(", ")})`, () => this.feed.state === state);
  }

  /** Connects again without the wait that is there to spread many clients. */
  async comesBack(): Promise<void> {
    await eventually("the feed is live again", () => {
      if (this.feed.state === "stale") this.feed.recover();
      return this.feed.state === "live";
    });
  }
}
