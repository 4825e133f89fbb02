/** Alerts that hold now. An event says that something is new; the list, which has more of each, is then read again. */

import { computed, signal } from "@preact/signals";
import { QueryError } from "@systole/client";
import { type Alert, listAlerts } from "../api/alerts.ts";
import { describe } from "../api/http.ts";
import { environment } from "./session.ts";

/** Many alerts at once are one cause: the page lists so many of them. */
export const MAX_ALERTS = 500;
/** An outage sends thousands of events. */
const SOON_MS = 500;
const MIN_PERIOD_MS = 5_000;

/** Undefined while they are not known. */
export const alerts = signal<readonly Alert[] | undefined>(undefined);
export const alertsError = signal<string | undefined>(undefined);
/** Whether there are more than {@link MAX_ALERTS}. */
export const areAlertsCut = signal(false);
/** Whether the collector has alerts. */
export const hasAlerts = signal(false);

const SEVERITIES = ["critical", "warning", "info"];

/** What a person has to know of: it fires, and nothing mutes it. */
export const loudAlerts = computed(() =>
  (alerts.value ?? []).filter(({ state, muted }) => state === "firing" && muted === null),
);

/** Firing before pending, muted last, the most severe first, and of equal ones the newest. */
export function byWeight(one: Alert, other: Alert): number {
  const weight = ({ state, severity, muted }: Alert) =>
    (muted === null ? 0 : 20) + (state === "firing" ? 0 : 10) + SEVERITIES.indexOf(severity);
  return weight(one) - weight(other) || other.since - one.since;
}

let timer: ReturnType<typeof setTimeout> | undefined;
let lastReadAt = 0;

/** Reads them again soon. */
export function readAlertsSoon(): void {
  if (!hasAlerts.value) return;
  timer ??= setTimeout(
    () => {
      timer = undefined;
      void readAlerts();
    },
    Math.max(SOON_MS, lastReadAt + MIN_PERIOD_MS - Date.now()),
  );
}

/** Reads them. A collector without alerts answers 404, and has no events of them. */
export async function readAlerts(): Promise<void> {
  lastReadAt = Date.now();
  try {
    const { items, next } = await listAlerts({ environment: environment.value, limit: MAX_ALERTS });
    alerts.value = [...items].sort(byWeight);
    areAlertsCut.value = next !== null;
    alertsError.value = undefined;
    hasAlerts.value = true;
  } catch (error) {
    if (error instanceof QueryError && error.status === 404) return;
    alertsError.value = describe(error);
  }
}

/** Forgets what another token could see. */
export function forgetAlerts(): void {
  clearTimeout(timer);
  timer = undefined;
  alerts.value = undefined;
  hasAlerts.value = false;
}
