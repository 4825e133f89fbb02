/** How fresh the page is. While it is live this is a dot; everything else is said in words. */

import { duration } from "../format/times.ts";
import { now } from "../state/clock.ts";
import { beats, type Connection, connection, isStorm, reconnect, STORM_READ_MS } from "../state/fleet.ts";

const WORDS: Readonly<Record<Connection["state"], string>> = {
  connecting: "Connecting",
  replaying: "Catching up",
  live: "Live",
  stale: "Connection lost",
  polling: "Polling",
  failed: "Disconnected",
};

export function ConnectionDot() {
  const { state } = connection.value;
  return (
    <span class={`connection connection-${state}`} title={WORDS[state]} data-connection={state}>
      <span key={beats.value} class="dot" aria-hidden="true" />
      <span class="connection-word">{WORDS[state]}</span>
    </span>
  );
}

export function ConnectionBar() {
  const { state, reason, retryAt } = connection.value;
  if (state === "live" && isStorm.value) {
    return (
      <div class="connection-bar is-storm" role="status">
        <strong>Many states change at once.</strong> They are read every {duration(STORM_READ_MS)} instead of one by
        one. <a href="#/events">The timeline</a> has each of them.
      </div>
    );
  }
  const isTroubled =
    state === "stale" || state === "failed" || state === "polling" || (state === "connecting" && reason !== undefined);
  if (!isTroubled) return null;
  const wait = retryAt === undefined ? undefined : retryAt - Date.now();
  void now.value;
  return (
    <div class={`connection-bar is-${state}`} role="status">
      <strong>{WORDS[state]}.</strong>{" "}
      {state === "polling"
        ? "The states are asked for every 15 s; what happens in between comes after."
        : "What is shown grows old."}{" "}
      {reason !== undefined && <span class="reason">{reason}.</span>}{" "}
      {wait !== undefined && wait > 0 && state !== "failed" && <span>Next attempt in {duration(wait)}.</span>}
      <button type="button" onClick={reconnect}>
        Try now
      </button>
    </div>
  );
}
