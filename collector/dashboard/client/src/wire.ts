/** Names for what the generated types leave without one, and what can be asked of them. */

import type { ControlEvent, EventType, FeedEvent } from "./generated/feed.ts";

export type * from "./generated/feed.ts";

/** Everything that a stream says: events of the fleet, and control events. */
export type AnyEvent = FeedEvent | ControlEvent;

/** The event of this type. */
export type EventOf<T extends AnyEvent["type"]> = Extract<AnyEvent, { type: T }>;

export type Hello = EventOf<"hello">;
/** The state at one point of the sequence. `connect` joins its parts, so it comes once and whole. */
export type Snapshot = EventOf<"snapshot">;
export type Ping = EventOf<"ping">;
export type Gap = EventOf<"gap">;
export type Reset = EventOf<"reset">;
export type Goodbye = EventOf<"goodbye">;

/** The types that a subscriber can ask for. */
export const EVENT_TYPES = [
  "fleet_status",
  "metric_update",
  "status_change",
  "log_entry",
] as const satisfies EventType[];

/** Types of control events. */
export const CONTROL_TYPES = [
  "hello",
  "snapshot",
  "ping",
  "gap",
  "reset",
  "goodbye",
] as const satisfies AnyEvent["type"][];

const KNOWN: ReadonlySet<string> = new Set([...EVENT_TYPES, ...CONTROL_TYPES]);

/** Whether this version knows events of this name. A later collector may have more. */
export function isKnownType(name: string): name is AnyEvent["type"] {
  return KNOWN.has(name);
}

/** Whether only the newest of an event counts, so that it may be left out when a newer one is there. */
export function isConflated(event: AnyEvent): event is EventOf<"fleet_status" | "metric_update"> {
  return event.type === "fleet_status" || event.type === "metric_update";
}

/** Whether it is one of the fleet's events, each of which is delivered once. */
export function isFeedEvent(event: AnyEvent): event is FeedEvent {
  return (EVENT_TYPES as readonly string[]).includes(event.type);
}
