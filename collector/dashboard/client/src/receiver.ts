/**
 * What a tab makes of what comes, from its own stream or from the tab that has one: passes on what is new, and holds
 * events back while a snapshot is fetched beside the stream, so that the snapshot does not undo them.
 */

import type { Block } from "./connection.ts";
import type { Position } from "./position.ts";
import { type AnyEvent, type Gap, isFeedEvent, type Reset, type Snapshot } from "./wire.ts";

/** Events held back for a snapshot; more of them, and the snapshot is given up. */
const MOST_HELD = 10_000;

export interface ReceiverHooks {
  deliver(event: AnyEvent, id: string | undefined): void;
  /** Events are missing: in a range, or everything that was known. */
  onMissing(missing: Gap | Reset): void;
  /** The snapshot is not waited for any more: too much was held back, or the stream brings one by itself. */
  onHoldEnd(): void;
}

export class Receiver {
  readonly #position: Position;
  readonly #hooks: ReceiverHooks;
  #held: Block[] | undefined;
  /** This stream's epoch was found to be another one already; its `reset` tells nothing new. */
  #resetKnown = false;

  constructor(position: Position, hooks: ReceiverHooks) {
    this.#position = position;
    this.#hooks = hooks;
  }

  receive(block: Block): void {
    const { event, id, inherited } = block;
    if (event === undefined || isFeedEvent(event)) {
      if (this.#held !== undefined) this.#hold(block);
      else this.#takeInOrder(block);
      return;
    }
    switch (event.type) {
      case "hello":
        this.#resetKnown = !this.#position.isOf(event.epoch);
        this.#hooks.deliver(event, undefined);
        if (this.#resetKnown) this.#reset({ type: "reset", reason: "epoch" });
        // Without ids that come alone, this is where a stream that begins now begins.
        else if (inherited && !event.resumed) this.#position.moveTo(`${event.epoch}-${event.head}`);
        break;
      case "reset":
        if (!this.#resetKnown) this.#reset(event);
        this.#resetKnown = false;
        break;
      case "snapshot":
        this.#endHold();
        if (this.#position.needsSnapshot) this.#position.arrive(id);
        this.#hooks.deliver(event, id);
        break;
      case "gap":
        this.#hooks.deliver(event, undefined);
        this.#hooks.onMissing(event);
        break;
      default:
        this.#hooks.deliver(event, undefined);
        if (inherited) this.#position.moveTo(id);
    }
  }

  /** From now on events wait for a snapshot. */
  hold(): void {
    this.#held ??= [];
  }

  /** The snapshot is there, or will not be: what was held back goes on. */
  release(snapshot?: { event: Snapshot; id: string | undefined }): void {
    const held = this.#held ?? [];
    this.#held = undefined;
    if (snapshot !== undefined) {
      // Who knew its place stays there: events up to the watermark are not lost because the state has them.
      if (this.#position.needsSnapshot) this.#position.arrive(snapshot.id);
      this.#hooks.deliver(snapshot.event, snapshot.id);
    }
    for (const block of held) this.receive(block);
  }

  #takeInOrder({ event, id, inherited }: Block): void {
    if (event !== undefined && isFeedEvent(event)) {
      if (!this.#position.admits(event, id, inherited)) return;
      this.#position.moveTo(id);
      this.#hooks.deliver(event, id);
    } else {
      this.#position.moveTo(id);
    }
  }

  #hold(block: Block): void {
    this.#held?.push(block);
    if ((this.#held?.length ?? 0) > MOST_HELD) this.#endHold();
  }

  #endHold(): void {
    if (this.#held === undefined) return;
    this.release();
    this.#hooks.onHoldEnd();
  }

  #reset(reset: Reset): void {
    this.#endHold();
    this.#position.forget();
    this.#hooks.deliver(reset, undefined);
    this.#hooks.onMissing(reset);
  }
}
