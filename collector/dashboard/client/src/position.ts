/** The client's position in the feed, which decides which events are new. */

import { type EventId, formatEventId, parseEventId } from "./event_id.ts";
import { type FeedEvent, isConflated } from "./wire.ts";

export class Position {
  #id: EventId | undefined;
  /** Events make no sense before the state that a snapshot brings. */
  needsSnapshot: boolean;

  constructor(needsSnapshot: boolean, after?: string) {
    const id = after === undefined ? undefined : parseEventId(after);
    if (after !== undefined && id === undefined) {
      throw new TypeError(`after: ${JSON.stringify(after)} is not the id of an event`);
    }
    this.#id = id;
    this.needsSnapshot = needsSnapshot && id === undefined;
  }

  /** The id to resume after. There is none while a snapshot is missing: its content is not known yet. */
  get id(): string | undefined {
    return this.#id && formatEventId(this.#id);
  }

  /** Whether everything up to this number was received. */
  hasReached(seq: number): boolean {
    return !this.needsSnapshot && this.#id !== undefined && this.#id.seq >= seq;
  }

  /** Whether a stream of this epoch continues what is known. */
  isSameEpoch(epoch: string): boolean {
    return this.#id === undefined || this.#id.epoch === epoch;
  }

  /** Whether this id is ahead: events before it were missed. */
  isBehind(text: string | undefined): boolean {
    const id = text === undefined ? undefined : parseEventId(text);
    if (id === undefined || this.#id === undefined || this.needsSnapshot) return false;
    return id.epoch !== this.#id.epoch || id.seq > this.#id.seq;
  }

  /** Forgets everything: it is not valid any more. */
  reset(): void {
    this.#id = undefined;
    this.needsSnapshot = true;
  }

  /** Moves forward to an id. */
  advanceTo(text: string | undefined): void {
    const id = text === undefined ? undefined : parseEventId(text);
    if (id === undefined || this.needsSnapshot) return;
    if (this.#id?.epoch === id.epoch && this.#id.seq >= id.seq) return;
    this.#id = id;
  }

  /** Starts at the id of a snapshot. */
  startAt(watermark: string | undefined): void {
    this.#id = undefined;
    this.needsSnapshot = false;
    this.advanceTo(watermark);
  }

  /**
   * Whether an event is new. An event without an id waited on the server while later ones were sent, and is new. Where
   * an id may be that of an earlier event, an equal id says nothing about a conflated event.
   */
  isNew(event: FeedEvent, id: string | undefined, inherited: boolean): boolean {
    if (this.needsSnapshot) return false;
    const own = id === undefined ? undefined : parseEventId(id);
    if (own === undefined || this.#id === undefined || own.epoch !== this.#id.epoch) return true;
    return own.seq > this.#id.seq || (inherited && isConflated(event) && own.seq === this.#id.seq);
  }
}
