/** Names of types that the generated ones leave without a name, and predicates on events. */

import type { ControlEvent, EventType, FeedEvent } from "./generated/feed.ts";

export type * from "./generated/feed.ts";

/** Every event of a stream: events of the fleet, and control events. */
export type AnyEvent = FeedEvent | ControlEvent;

/** The event of this type. */
export type EventOf<T extends AnyEvent["type"]> = Extract<AnyEvent, { type: T }>;

export type Hello = EventOf<"hello">;
/** The state at one point of the sequence. `connect` joins its parts and delivers it once. */
export type Snapshot = EventOf<"snapshot">;
export type Ping = EventOf<"ping">;
export type Gap = EventOf<"gap">;
export type Reset = EventOf<"reset">;
export type Goodbye = EventOf<"goodbye">;

/** The types that a subscriber can ask for. */
export const EVENT_TYPES = [
  "fleet_status",
  "fleet_totals",
  "metric_update",
  "status_change",
  "log_entry",
  "deployment",
  "alert",
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

/** Whether this version knows events of this type. A later collector may have more types. */
export function isKnownType(name: string): name is AnyEvent["type"] {
  return KNOWN.has(name);
}

/** Whether only the newest event of a subject counts, so that older ones may be left out. */
export function isConflated(event: AnyEvent): event is EventOf<"fleet_status" | "fleet_totals" | "metric_update"> {
  return event.type === "fleet_status" || event.type === "fleet_totals" || event.type === "metric_update";
}

/** Whether it is an event of the fleet, and not a control event. */
export function isFeedEvent(event: AnyEvent): event is FeedEvent {
  return (EVENT_TYPES as readonly string[]).includes(event.type);
}
