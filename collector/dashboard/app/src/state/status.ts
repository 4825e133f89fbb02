/** States as a person sees them: a tone with a shape, a word, and an order by severity. */

export type Tone = "bad" | "lost" | "warn" | "busy" | "unknown" | "off" | "ok";

/** Most severe first. */
export const TONES: readonly Tone[] = ["bad", "lost", "warn", "busy", "unknown", "off", "ok"];

const RANK = new Map(TONES.map((tone, index) => [tone, index]));

export function rankOf(tone: Tone): number {
  return RANK.get(tone) ?? TONES.length;
}

export function worse(one: Tone, other: Tone): Tone {
  return rankOf(one) <= rankOf(other) ? one : other;
}

const TONE_OF: Readonly<Record<string, Tone>> = {
  HEALTHY: "ok",
  RUNNING: "ok",
  DEGRADED: "warn",
  UNREACHABLE: "lost",
  OFFLINE: "off",
  STOPPED: "off",
  REMOVED: "off",
  PENDING: "busy",
  STARTING: "busy",
  CRASHED: "bad",
  CRASH_LOOP: "bad",
  UNKNOWN: "unknown",
  // Phases of a deployment, and states of a rollout and its nodes.
  pending: "busy",
  validating: "busy",
  starting: "busy",
  healthy: "ok",
  rejected: "bad",
  rolled_back: "warn",
  paused: "off",
  removed: "off",
  running: "busy",
  deploying: "busy",
  waiting: "off",
  halted: "bad",
  complete: "ok",
  aborted: "warn",
  failed: "bad",
  // Severities of alerts.
  critical: "bad",
  warning: "warn",
  info: "busy",
  unfit: "off",
};

export function toneOf(status: string): Tone {
  return TONE_OF[status] ?? "unknown";
}

/** `CRASH_LOOP` → `Crash loop`. */
export function wordOf(status: string): string {
  const text = status.replaceAll("_", " ").toLowerCase();
  return text.charAt(0).toUpperCase() + text.slice(1);
}
