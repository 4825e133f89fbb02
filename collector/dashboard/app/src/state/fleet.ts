/**
 * The fleet: one stream with the states of all nodes and pipelines. It has no rates: those of what is in view come over
 * a stream of their own (`live.ts`), so that a fleet of ten thousand nodes costs no more than what a person sees of it.
 */

import { batch, computed, signal } from "@preact/signals";
import { connect, type EventOf, type Feed, type FeedState, FleetStore, type Gap, type Reset } from "@systole/client";
import { CLIENT, queries, sessionFetch } from "../api/http.ts";
import { learnCollectorTime } from "./clock.ts";
import { environment, sessionState } from "./session.ts";
import { forgetTotals, takeTotals } from "./totals.ts";

/** The page is written at most this often, and a large fleet, whose rows take long to sort, less often. */
const FLUSH_MS = 250;
const LARGE_FLUSH_MS = 1_000;
const LARGE = 2_000;
/** While there is no stream, the states are asked for this often. */
const POLL_MS = 15_000;

export interface Connection {
  state: FeedState | "polling";
  reason: string | undefined;
  /** When the next attempt is made. */
  retryAt: number | undefined;
}

export const connection = signal<Connection>({ state: "connecting", reason: undefined, retryAt: undefined });

/** Counts the stream's pings: the page shows each as one beat, and is still in between. */
export const beats = signal(0);

export const store = new FleetStore();

/** Counts changes of {@link store} that the page has not written before. */
const version = signal(0);

/** The states, as of the last write. */
export const fleet = computed(() => {
  void version.value;
  return store.state;
});

type Change = EventOf<"status_change">;
type DeploymentEvent = EventOf<"deployment">;

/** Views that follow events of the main stream. */
const changeListeners = new Set<(change: Change, id: string | undefined) => void>();
const deploymentListeners = new Set<(event: DeploymentEvent) => void>();
const gapListeners = new Set<(gap: Gap | Reset) => void>();

function listen<T>(listeners: Set<T>, listener: T): () => void {
  listeners.add(listener);
  return () => void listeners.delete(listener);
}

export const onChange = (listener: (change: Change, id: string | undefined) => void) =>
  listen(changeListeners, listener);
export const onDeployment = (listener: (event: DeploymentEvent) => void) => listen(deploymentListeners, listener);
export const onMissing = (listener: (gap: Gap | Reset) => void) => listen(gapListeners, listener);

let flushTimer: ReturnType<typeof setTimeout> | undefined;
let lastFlush = 0;
let nodeCount = 0;

store.subscribe(() => {
  if (flushTimer !== undefined) return;
  const period = nodeCount > LARGE ? LARGE_FLUSH_MS : FLUSH_MS;
  const wait = Math.max(0, lastFlush + period - performance.now());
  flushTimer = setTimeout(() => {
    flushTimer = undefined;
    lastFlush = performance.now();
    nodeCount = store.state.nodes.size;
    version.value += 1;
  }, wait);
});

let feed: Feed | undefined;
let hasSnapshot = false;

export function openFleet(): () => void {
  const opened = connect({
    url: "./",
    client: CLIENT,
    fetch: sessionFetch,
    types: ["status_change", "deployment", "fleet_totals"],
    environment: environment.value,
    onEvent(event, { id }) {
      store.apply(event, id);
      if (event.type === "snapshot") hasSnapshot = true;
      else if (event.type === "ping") {
        learnCollectorTime(event.now);
        beats.value += 1;
      } else if (event.type === "status_change") for (const listener of changeListeners) listener(event, id);
      else if (event.type === "fleet_totals") takeTotals(event);
      else if (event.type === "deployment") for (const listener of deploymentListeners) listener(event);
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
      opened.takeSnapshot();
      for (const listener of gapListeners) listener(missing);
    },
    poll: async () => {
      if (!hasSnapshot) return;
      await pollStates();
      const { state, reason, retryAt } = connection.value;
      if (state === "stale") connection.value = { state: "polling", reason, retryAt };
    },
    pollMs: POLL_MS,
  });
  feed = opened;
  return () => {
    feed = undefined;
    hasSnapshot = false;
    forgetTotals();
    void opened.close();
  };
}

export function reconnect(): void {
  feed?.recover();
}

/** The states by queries, for networks that break streams. */
async function pollStates(): Promise<void> {
  const { items } = await queries.nodes({ limit: 1000, environment: environment.value });
  store.apply({
    type: "snapshot",
    nodes: items.map(({ id, name, status, lastSeenAt, maintenance }) => ({
      nodeId: id,
      name,
      status,
      lastSeenAt: lastSeenAt ?? null,
      maintenanceUntil: maintenance?.until ?? null,
    })),
    pipelines: items.flatMap(({ pipelines }) => pipelines),
    samples: [],
    done: true,
  });
}
