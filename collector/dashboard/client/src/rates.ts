/** Chooses the rates that show the work of a component. */

import type { ComponentKind, RateSample } from "./wire.ts";

export interface ComponentRates {
  /** The rate to show, per second. */
  readonly eventsRate: number;
  readonly bytesRate: number;
  /** The input of a transform. The difference to its output is what the transform removes or adds. */
  readonly inputEventsRate: number | undefined;
  readonly inputBytesRate: number | undefined;
}

/**
 * Sources: what they received, or what they sent if the engine does not count the former. Transforms: what they sent,
 * with what they received as input. Sinks: what they received.
 */
export function componentRates(kind: ComponentKind, sample: RateSample): ComponentRates {
  const { receivedEventsRate, sentEventsRate, receivedBytesRate, sentBytesRate } = sample;
  const noInput = { inputEventsRate: undefined, inputBytesRate: undefined };
  switch (kind) {
    case "source":
      return {
        eventsRate: receivedEventsRate || sentEventsRate,
        bytesRate: receivedBytesRate || sentBytesRate,
        ...noInput,
      };
    case "sink":
      return { eventsRate: receivedEventsRate, bytesRate: receivedBytesRate, ...noInput };
    case "transform":
    case "unknown":
      return {
        eventsRate: sentEventsRate,
        bytesRate: sentBytesRate,
        inputEventsRate: receivedEventsRate,
        inputBytesRate: receivedBytesRate,
      };
  }
}
