/**
 * - `connecting`: the first stream is not open yet;
 * - `replaying`: connected; the snapshot or the missed events are being received;
 * - `live`: connected and up to date;
 * - `stale`: the stream is lost or silent, so the data grows old; the next attempt is made automatically;
 * - `failed`: no attempt is made before `recover()`.
 */
export type FeedState = "connecting" | "replaying" | "live" | "stale" | "failed";

/** Details of a state. */
export interface StateDetail {
  /** Why, for people. Set for `stale`, for `failed`, and for `connecting` after a failed attempt. */
  reason?: string;
  /** The HTTP status of an answer that was not a stream. */
  status?: number;
  /** When the next attempt is made. */
  retryInMs?: number;
}
