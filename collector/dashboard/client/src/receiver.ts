/**
 * Decides which messages are new, whether they come from this tab's stream or from the leader tab. While a snapshot is
 * fetched on a second stream, it holds events back, so that the snapshot does not undo them.
 */

import type { FeedMessage } from "./connection.ts";
import type { Position } from "./position.ts";
import { type AnyEvent, type Gap, isFeedEvent, type Reset, type Snapshot } from "./wire.ts";

/** Messages held back for a snapshot. With more of them the snapshot is fetched later, so that memory is bounded. */
const MAX_HELD_MESSAGES = 10_000;

export interface ReceiverHooks {
  /** An event is new. After it, everything up to `position` was delivered. */
  deliver(event: AnyEvent, id: string | undefined, position: string | undefined): void;
  /** Everything up to this id was delivered; the stream left out what was not asked for. */
  onPosition(position: string): void;
  /** Events are missing: those of a range, or everything that was known. */
  onMissing(missing: Gap | Reset): void;
  /** The snapshot is not needed any more: the stream brings one itself. */
  onHoldEnd(): void;
  /** {@link MAX_HELD_MESSAGES} were held and are delivered: this snapshot would undo them, so another one is needed. */
  onHoldFull(): void;
}

export class Receiver {
  readonly #position: Position;
  readonly #hooks: ReceiverHooks;
  #held: FeedMessage[] | undefined;
  /** `hello` already showed another epoch, so the `reset` of this stream was handled. */
  #resetKnown = false;

  constructor(position: Position, hooks: ReceiverHooks) {
    this.#position = position;
    this.#hooks = hooks;
  }

  /** Whether messages are held back, so that the position is behind what was received. */
  get isHolding(): boolean {
    return this.#held !== undefined;
  }

  receive(message: FeedMessage): void {
    const { event, id, inherited } = message;
    if (event === undefined || isFeedEvent(event)) {
      if (this.#held !== undefined) this.#hold(message);
      else this.#deliverIfNew(message);
      return;
    }
    switch (event.type) {
      case "hello":
        this.#resetKnown = !this.#position.isSameEpoch(event.epoch);
        this.#deliver(event);
        if (this.#resetKnown) this.#reset({ type: "reset", reason: "epoch" });
        // EventSource does not show ids without an event. A stream that starts now starts at the head.
        else if (inherited && !event.resumed) this.#advanceTo(`${event.epoch}-${event.head}`);
        break;
      case "reset":
        if (!this.#resetKnown) this.#reset(event);
        this.#resetKnown = false;
        break;
      case "snapshot":
        this.#endHold();
        if (this.#position.needsSnapshot) this.#position.startAt(id);
        this.#deliver(event, id);
        break;
      case "gap":
        this.#deliver(event);
        this.#hooks.onMissing(event);
        break;
      default:
        this.#deliver(event);
        if (inherited) this.#advanceTo(id);
    }
  }

  /** From now on events wait for a snapshot. */
  hold(): void {
    this.#held ??= [];
  }

  /** The snapshot was received, or will not be: delivers the held messages after it. */
  release(snapshot?: { event: Snapshot; id: string | undefined }): void {
    const held = this.#held ?? [];
    this.#held = undefined;
    if (snapshot !== undefined) {
      // A known position stays: the snapshot has the state of the held events, and not their lines and changes.
      if (this.#position.needsSnapshot) this.#position.startAt(snapshot.id);
      this.#deliver(snapshot.event, snapshot.id);
    }
    for (const message of held) this.receive(message);
  }

  #deliver(event: AnyEvent, id?: string): void {
    this.#hooks.deliver(event, id, this.#position.id);
  }

  #deliverIfNew({ event, id, inherited }: FeedMessage): void {
    if (event === undefined || !isFeedEvent(event)) {
      this.#advanceTo(id);
      return;
    }
    if (!this.#position.isNew(event, id, inherited)) return;
    this.#position.advanceTo(id);
    this.#deliver(event, id);
  }

  #advanceTo(id: string | undefined): void {
    this.#position.advanceTo(id);
    if (this.#position.id !== undefined) this.#hooks.onPosition(this.#position.id);
  }

  #hold(message: FeedMessage): void {
    this.#held?.push(message);
    if ((this.#held?.length ?? 0) > MAX_HELD_MESSAGES) this.#hooks.onHoldFull();
  }

  #endHold(): void {
    if (this.#held === undefined) return;
    this.release();
    this.#hooks.onHoldEnd();
  }

  #reset(reset: Reset): void {
    this.#endHold();
    this.#position.reset();
    this.#deliver(reset);
    this.#hooks.onMissing(reset);
  }
}
