export { connect, type Feed } from "./connect.ts";
export type { TokenProvider } from "./credentials.ts";
export { type EventId, formatEventId, parseEventId } from "./event_id.ts";
export type * from "./generated/queries.ts";
export { type BufferedLine, LogBuffer } from "./log_buffer.ts";
export { findLogLevel, parseLogLevel } from "./log_level.ts";
export type { ConnectOptions, EventContext, RequestOptions } from "./options.ts";
export { EventStreamParser, type ParserHandlers, type ServerSentEvent } from "./parser.ts";
export {
  allItems,
  type QueryAnswer,
  QueryClient,
  QueryError,
  type QueryName,
  type QueryOptions,
  type QueryParameters,
} from "./query_client.ts";
export { type ComponentRates, componentRates } from "./rates.ts";
export type { FeedState, StateDetail } from "./state.ts";
export { type FleetState, FleetStore, type NodeState, type PipelineState, pipelineKey } from "./store.ts";
export { type Toast, ToastRules, type ToastRulesOptions } from "./toasts.ts";
export * from "./wire.ts";
