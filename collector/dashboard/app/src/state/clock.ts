/** The time that is shown: one tick a second for the whole page, and none while it is hidden. */

import { signal } from "@preact/signals";

export const now = signal(Date.now());

/** How far the collector's clock is ahead of this one, from its pings. */
let skewMs = 0;

export function learnCollectorTime(collectorNow: number): void {
  skewMs = collectorNow - Date.now();
}

/** The time by the collector's clock, to which all times of events belong. */
export function collectorNow(): number {
  return Date.now() + skewMs;
}

setInterval(() => {
  if (document.visibilityState === "visible") now.value = collectorNow();
}, 1_000);
