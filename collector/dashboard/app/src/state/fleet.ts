/**
 * The main stream: changes of states, sums of the fleet, and deployments. It has no rates of nodes: a list reads those of its
 * rows, and `live.ts` follows what one page shows, so that a fleet of ten thousand nodes costs no more than what a person sees of it.
 *
 * When thousands of nodes change their state at once, the changes are left out of the stream, and the states are read instead.
 */

import { batch, signal } from "@preact/signals";
import {
  connect,
  type EventOf,
  type EventType,
  type Feed,
  type FeedState,
  type Gap,
  type Reset,
} from "@systole/client";
import { CLIENT, sessionFetch } from "../api/http.ts";
import { forgetAlerts, hasAlerts, readAlerts, readAlertsSoon } from "./alerts.ts";
import { learnCollectorTime } from "./clock.ts";
import { applyChange, read, readNodesSoon } from "./nodes.ts";
import { environment, sessionState } from "./session.ts";
import { StormGauge } from "./storm.ts";
import { forgetTotals, takeTotals } from "./totals.ts";

/** While there is no stream, the states are read this often. */
const POLL_MS = 15_000;
/** While changes are left out, lists are read this often, and the states of all nodes a little less often. */
export const STORM_READ_MS = 10_000;

export interface Connection {
  state: FeedState | "polling";
  reason: string | undefined;
  /** When the next attempt is made. */
  retryAt: number | undefined;
}

export const connection = signal<Connection>({ state: "connecting", reason: undefined, retryAt: undefined });

/** Counts the stream's pings: the page shows each as one beat, and is still in between. */
export const beats = signal(0);

/** Whether so many states change that they are read, and not followed. */
export const isStorm = signal(false);

type Change = EventOf<"status_change">;
type DeploymentEvent = EventOf<"deployment">;
type AlertEvent = EventOf<"alert">;

/** Views that follow events of the main stream. */
const changeListeners = new Set<(change: Change, id: string | undefined) => void>();
const deploymentListeners = new Set<(event: DeploymentEvent, id: string | undefined) => void>();
const alertListeners = new Set<(event: AlertEvent, id: string | undefined) => void>();
const gapListeners = new Set<(gap: Gap | Reset) => void>();
/** Views whose answers are to be read again: what happened is not known one by one. */
const rereadListeners = new Set<() => void>();

function listen<T>(listeners: Set<T>, listener: T): () => void {
  listeners.add(listener);
  return () => void listeners.delete(listener);
}

export const onChange = (listener: (change: Change, id: string | undefined) => void) =>
  listen(changeListeners, listener);
export const onDeployment = (listener: (event: DeploymentEvent, id: string | undefined) => void) =>
  listen(deploymentListeners, listener);
export const onAlert = (listener: (event: AlertEvent, id: string | undefined) => void) =>
  listen(alertListeners, listener);
export const onMissing = (listener: (gap: Gap | Reset) => void) => listen(gapListeners, listener);
export const onReread = (listener: () => void) => listen(rereadListeners, listener);

function reread(): void {
  void read();
  readAlertsSoon();
  for (const listener of rereadListeners) listener();
}

let feed: Feed | undefined;
let gauge = new StormGauge();
let stormTimer: ReturnType<typeof setInterval> | undefined;

export function openFleet(): () => void {
  gauge = new StormGauge();
  let isClosed = false;
  // The list says whether the collector has events of alerts.
  void readAlerts().then(() => {
    if (isClosed) return;
    open();
    readAlertsSoon();
  });
  return () => {
    isClosed = true;
    endStorm();
    forgetAlerts();
    void feed?.close();
    feed = undefined;
    forgetTotals();
  };
}

const CALM: readonly EventType[] = ["deployment", "fleet_totals"];

function open(): void {
  void feed?.close();
  feed = connect({
    url: "./",
    client: CLIENT,
    fetch: sessionFetch,
    types: [
      ...(isStorm.value ? [] : (["status_change"] as const)),
      ...CALM,
      ...(hasAlerts.value ? (["alert"] as const) : []),
    ],
    environment: environment.value,
    // For the totals: the states of nodes and their pipelines come in one smaller answer.
    snapshot: isStorm.value ? false : "nodes",
    onEvent(event, { id }) {
      if (event.type === "snapshot") for (const one of event.totals ?? []) takeTotals(one);
      else if (event.type === "ping") {
        learnCollectorTime(event.now);
        beats.value += 1;
      } else if (event.type === "status_change") takeChange(event, id);
      else if (event.type === "fleet_totals") takeTotals(event);
      else if (event.type === "alert") {
        readAlertsSoon();
        for (const listener of alertListeners) listener(event, id);
      } else if (event.type === "deployment") for (const listener of deploymentListeners) listener(event, id);
    },
    onState(state, { reason, status, retryInMs }) {
      const retryAt = retryInMs === undefined ? undefined : Date.now() + retryInMs;
      batch(() => {
        connection.value = { state, reason, retryAt };
        if (state === "failed" && (status === 401 || status === 403)) {
          sessionState.value = { is: "out", reason: reason ?? "The session has ended." };
        }
      });
    },
    onGap(missing) {
      reread();
      for (const listener of gapListeners) listener(missing);
    },
    poll: async () => {
      reread();
      const { state, reason, retryAt } = connection.value;
      if (state === "stale") connection.value = { state: "polling", reason, retryAt };
    },
    pollMs: POLL_MS,
  });
}

function takeChange(change: Change, id: string | undefined): void {
  applyChange(change);
  for (const listener of changeListeners) listener(change, id);
  if (!isStorm.value && gauge.count(Date.now())) beginStorm();
}

function beginStorm(): void {
  isStorm.value = true;
  stormTimer = setInterval(() => {
    if (document.visibilityState === "visible") {
      readNodesSoon();
      for (const listener of rereadListeners) listener();
    }
    if (gauge.isOver(Date.now())) {
      endStorm();
      open();
      readNodesSoon();
    }
  }, STORM_READ_MS);
  // Not in the handler of an event of the stream that is closed.
  setTimeout(open);
}

function endStorm(): void {
  isStorm.value = false;
  clearInterval(stormTimer);
  stormTimer = undefined;
}

export function reconnect(): void {
  feed?.recover();
}
