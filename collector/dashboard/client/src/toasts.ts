/** Chooses the changes of state that a person should see at once. */

import type { EventOf, NodeId } from "./wire.ts";

/** One subject has at most one toast in this time, unless it gets worse. */
const COOL_DOWN_MS = 30_000;

const SEVERITY = { success: 0, info: 0, warning: 1, error: 2 } as const;

export interface Toast {
  readonly kind: "error" | "warning" | "info" | "success";
  /** Ready to be shown: names, with ids beside them. */
  readonly text: string;
  /** The node's name; its id when the name is not known. */
  readonly nodeName: string;
  /** The pipeline's name; its id when the name is not known. Undefined when the node itself has changed. */
  readonly pipelineName: string | undefined;
  /** The change, with the ids. */
  readonly change: EventOf<"status_change">;
}

export interface ToastRulesOptions {
  /** The name of a node: `store.nodeName` of a {@link FleetStore}. Changes of earlier versions have the id only. */
  nodeName?: ((id: NodeId) => string | undefined) | undefined;
  /** The clock. Default: `Date.now`. */
  now?: (() => number) | undefined;
}

/** Decides which changes become toasts. Each dashboard needs one of its own, because it remembers the last toasts. */
export class ToastRules {
  readonly #nodeName: (id: NodeId) => string | undefined;
  readonly #now: () => number;
  /** The last toast about a subject. */
  readonly #last = new Map<string, { at: number; severity: number }>();

  constructor({ nodeName = () => undefined, now = Date.now }: ToastRulesOptions = {}) {
    this.#nodeName = nodeName;
    this.#now = now;
  }

  /** The toast for a change, or undefined when there should be none. */
  toastFor(change: EventOf<"status_change">): Toast | undefined {
    const toast = toastOf(change, change.nodeName ?? this.#nodeName(change.nodeId) ?? change.nodeId);
    if (toast === undefined) return undefined;
    const now = this.#now();
    for (const [subject, { at }] of this.#last) {
      if (now - at >= COOL_DOWN_MS) this.#last.delete(subject);
    }
    const subject = `${change.nodeId}/${change.pipelineId ?? ""}`;
    const severity = SEVERITY[toast.kind];
    if (severity <= (this.#last.get(subject)?.severity ?? -1)) return undefined;
    this.#last.set(subject, { at: now, severity });
    return toast;
  }
}

function toastOf(change: EventOf<"status_change">, nodeName: string): Toast | undefined {
  const { nodeId, pipelineId, fromStatus, toStatus, reason } = change;
  // Only the reason is new.
  if (fromStatus === toStatus) return undefined;
  const because = reason === "" ? "" : `: ${reason}`;
  const node = `node ${withId(nodeName, nodeId)}`;
  if (pipelineId === undefined) {
    const names = { nodeName, pipelineName: undefined, change };
    switch (toStatus) {
      case "UNREACHABLE":
        return { kind: "warning", text: `${node} cannot be reached${because}`, ...names };
      case "OFFLINE":
        // An operator has stopped it.
        return { kind: "info", text: `${node} is offline${because}`, ...names };
      default:
        return undefined;
    }
  }
  const pipelineName = change.pipelineName ?? pipelineId;
  const pipeline = `pipeline ${withId(pipelineName, pipelineId)} on ${node}`;
  const names = { nodeName, pipelineName, change };
  switch (toStatus) {
    case "CRASHED":
      return { kind: "error", text: `${pipeline} has crashed${because}`, ...names };
    case "CRASH_LOOP":
      return { kind: "error", text: `${pipeline} crashes repeatedly${because}`, ...names };
    case "RUNNING":
      // Only a start is a deployment. A return from DEGRADED or from a crash is not.
      if (fromStatus !== "STARTING" && fromStatus !== "PENDING") return undefined;
      return { kind: "success", text: `${pipeline} is deployed and runs`, ...names };
    default:
      return undefined;
  }
}

/** A name, with the id beside it where they differ: two things may have one name. */
function withId(name: string, id: string): string {
  return name === id ? id : `${name} (${id})`;
}
