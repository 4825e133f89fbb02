/** Where in the feed a client is, and so which events are new to it. */

import { type EventId, formatEventId, parseEventId } from "./event_id.ts";
import { type FeedEvent, isConflated } from "./wire.ts";

export class Position {
  #id: EventId | undefined;
  /** Without the state that a snapshot gives, events mean nothing yet. */
  needsSnapshot: boolean;

  constructor(needsSnapshot: boolean, after?: string) {
    const id = after === undefined ? undefined : parseEventId(after);
    if (after !== undefined && id === undefined) throw new TypeError(`${JSON.stringify(after)} is no id of an event`);
    this.#id = id;
    this.needsSnapshot = needsSnapshot && id === undefined;
  }

  /** The id behind which to go on. While a snapshot is missing there is none: what it says is not known yet. */
  get id(): string | undefined {
    return this.#id && formatEventId(this.#id);
  }

  /** Whether everything up to this number was seen. */
  hasReached(seq: number): boolean {
    return !this.needsSnapshot && this.#id !== undefined && this.#id.seq >= seq;
  }

  /** Whether a stream of this epoch goes on with what is known here. */
  isOf(epoch: string): boolean {
    return this.#id === undefined || this.#id.epoch === epoch;
  }

  /** What was known does not hold any more. */
  forget(): void {
    this.#id = undefined;
    this.needsSnapshot = true;
  }

  /** Moves to an id that lies ahead. */
  moveTo(text: string | undefined): void {
    const id = text === undefined ? undefined : parseEventId(text);
    if (id === undefined || this.needsSnapshot) return;
    if (this.#id?.epoch === id.epoch && this.#id.seq >= id.seq) return;
    this.#id = id;
  }

  /** A snapshot is there, and this is where it was taken. */
  arrive(watermark: string | undefined): void {
    this.#id = undefined;
    this.needsSnapshot = false;
    this.moveTo(watermark);
  }

  /**
   * Whether an event is new. One without an id waited on the server while others went ahead of it, and is new. Where an
   * id may be an earlier event's, an equal one tells nothing of an event of which only the newest counts.
   */
  admits(event: FeedEvent, id: string | undefined, inherited: boolean): boolean {
    if (this.needsSnapshot) return false;
    const own = id === undefined ? undefined : parseEventId(id);
    if (own === undefined || this.#id === undefined || own.epoch !== this.#id.epoch) return true;
    return own.seq > this.#id.seq || (inherited && isConflated(event) && own.seq === this.#id.seq);
  }
}
