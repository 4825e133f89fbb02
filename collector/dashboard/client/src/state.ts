/**
 * - `connecting`: the first stream is not there yet;
 * - `replaying`: connected; the snapshot, or what was missed, is on its way;
 * - `live`: connected and up to date;
 * - `stale`: the stream is lost or silent, what is shown grows old; another one is opened without being asked;
 * - `failed`: nothing is tried any more before `recover()`.
 */
export type FeedState = "connecting" | "replaying" | "live" | "stale" | "failed";

/** What there is to say about a state. */
export interface StateDetail {
  /** Why, for people; of `stale`, `failed` and a `connecting` that did not succeed at once. */
  reason?: string;
  /** The HTTP status that was answered, if it was not a stream. */
  status?: number;
  /** When the next try is made. */
  retryInMs?: number;
}
