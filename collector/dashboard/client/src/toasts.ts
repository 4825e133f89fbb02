/** What a person should be told at once, out of the changes of state. */

import type { EventOf } from "./wire.ts";

/** A subject that was told about is left in peace for so long, unless there is something worse to tell. */
const COOL_DOWN_MS = 30_000;

const GRAVITY = { success: 0, warning: 1, error: 2 } as const;

export interface Toast {
  readonly kind: "error" | "warning" | "success";
  /** Ready to be shown. */
  readonly text: string;
  readonly change: EventOf<"status_change">;
}

/** Decides which changes become toasts. One for each dashboard: it remembers what it told. */
export class ToastRules {
  readonly #now: () => number;
  readonly #told = new Map<string, { at: number; gravity: number }>();

  constructor(now: () => number = Date.now) {
    this.#now = now;
  }

  /** The toast for a change, if there is to be one. */
  judge(change: EventOf<"status_change">): Toast | undefined {
    const toast = toastOf(change);
    if (toast === undefined) return undefined;
    const now = this.#now();
    for (const [subject, { at }] of this.#told) {
      if (now - at >= COOL_DOWN_MS) this.#told.delete(subject);
    }
    const subject = `${change.nodeId}/${change.pipelineId ?? ""}`;
    const gravity = GRAVITY[toast.kind];
    if (gravity <= (this.#told.get(subject)?.gravity ?? -1)) return undefined;
    this.#told.set(subject, { at: now, gravity });
    return toast;
  }
}

function toastOf(change: EventOf<"status_change">): Toast | undefined {
  const { fromStatus, toStatus, reason } = change;
  const name = change.pipelineName ?? change.pipelineId ?? `node ${change.nodeId}`;
  const because = reason === "" ? "" : `: ${reason}`;
  if (change.pipelineId === undefined) {
    if (toStatus !== "UNREACHABLE") return undefined;
    return { kind: "warning", text: `${name} cannot be reached${because}`, change };
  }
  switch (toStatus) {
    case "CRASHED":
      return { kind: "error", text: `${name} has crashed${because}`, change };
    case "CRASH_LOOP":
      return { kind: "error", text: `${name} crashes again and again${because}`, change };
    case "RUNNING":
      // Only a start is a deployment: who comes back from DEGRADED or a crash was never away on purpose.
      if (fromStatus !== "STARTING" && fromStatus !== "PENDING") return undefined;
      return { kind: "success", text: `${name} is deployed and runs`, change };
    default:
      return undefined;
  }
}
