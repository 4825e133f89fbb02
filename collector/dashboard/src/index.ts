export { connect, type Feed } from "./connect.ts";
export { type EventId, formatEventId, parseEventId } from "./event_id.ts";
export type { ConnectOptions, EventContext } from "./options.ts";
export { EventStreamParser, type ParserHandlers, type ServerSentEvent } from "./parser.ts";
export type { FeedState, StateDetail } from "./state.ts";
export * from "./wire.ts";
