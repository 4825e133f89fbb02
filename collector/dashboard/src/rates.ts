/** Which of a component's rates says what it does. */

import type { ComponentKind, RateSample } from "./wire.ts";

export interface ComponentRates {
  /** The rate to show, per second. */
  readonly eventsRate: number;
  readonly bytesRate: number;
  /** What came in, of a transform: what it takes away or adds can be seen by it. */
  readonly inputEventsRate: number | undefined;
  readonly inputBytesRate: number | undefined;
}

/**
 * Sources: what they received, or what they sent where the engine does not count that. Transforms: what they sent, with
 * what they received as input. Sinks: what they received.
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
