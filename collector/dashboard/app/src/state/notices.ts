/** Short notices at the border of the page. Which changes deserve one is decided by the client library's rules. */

import { signal } from "@preact/signals";
import { ToastRules } from "@systole/client";
import { onAlert, onChange, onMissing } from "./fleet.ts";
import { nodeName } from "./nodes.ts";
import { isKiosk, nodeLink, pipelineLink } from "./route.ts";

export interface Notice {
  id: number;
  kind: "error" | "warning" | "info" | "success";
  title: string;
  text: string;
  /** Where it leads. */
  href: string | undefined;
  at: number;
}

/** Notices at a time; older ones leave. They are all in the timeline of events. */
const KEPT = 4;
const LEAVES_AFTER_MS = { error: 0, warning: 20_000, info: 8_000, success: 8_000 } as const;
const KIOSK_MS = 10_000;

export const notices = signal<readonly Notice[]>([]);

let lastId = 0;

export function notify(notice: Omit<Notice, "id" | "at">): void {
  lastId += 1;
  const id = lastId;
  notices.value = [...notices.value, { ...notice, id, at: Date.now() }].slice(-KEPT);
  const after = isKiosk ? KIOSK_MS : LEAVES_AFTER_MS[notice.kind];
  if (after > 0) setTimeout(() => dismiss(id), after);
}

export function dismiss(id: number): void {
  notices.value = notices.value.filter((notice) => notice.id !== id);
}

/** Says that an action was done, or why not. */
export function report(title: string, error?: string): void {
  notify({ kind: error === undefined ? "success" : "error", title, text: error ?? "", href: undefined });
}

const TITLES: Readonly<Record<string, string>> = {
  CRASHED: "crashed",
  CRASH_LOOP: "crashes repeatedly",
  UNREACHABLE: "cannot be reached",
  OFFLINE: "is offline",
  RUNNING: "runs",
};

const ALERT_KINDS = { critical: "error", warning: "warning", info: "info" } as const;

export function followNotices(): () => void {
  const rules = new ToastRules({ nodeName });
  const unlisten = [
    onChange((change) => {
      const toast = rules.toastFor(change);
      if (toast === undefined) return;
      const { kind, nodeName, pipelineName } = toast;
      const state = TITLES[change.toStatus] ?? change.toStatus;
      const place = pipelineName === undefined ? "" : `on ${nodeName}`;
      notify({
        kind,
        title: `${pipelineName ?? nodeName} ${state}`,
        text: [place, change.reason].filter(Boolean).join(": "),
        href:
          change.pipelineId === undefined
            ? nodeLink(change.nodeId)
            : pipelineLink(change.pipelineId, { node: change.nodeId }),
      });
    }),
    onAlert(({ state, severity, subject, text, nodeId, pipelineId }) => {
      if (state !== "firing" && state !== "resolved") return;
      notify({
        kind: state === "resolved" ? "success" : ALERT_KINDS[severity],
        title: state === "resolved" ? `${subject}: resolved` : subject,
        text,
        href:
          nodeId === undefined
            ? "#/alerts"
            : pipelineId === undefined
              ? nodeLink(nodeId)
              : pipelineLink(pipelineId, { node: nodeId }),
      });
    }),
    onMissing((missing) => {
      if (missing.type === "reset") {
        notify({
          kind: "warning",
          title: "The collector has another database",
          text: "Everything was read again.",
          href: undefined,
        });
        return;
      }
      const many = missing.to - missing.from + 1;
      notify({
        kind: "warning",
        title: `Up to ${many} events are missing here`,
        text: `${missing.types.join(", ")} (${missing.reason}). The states were read again; the timeline has what is stored.`,
        href: "#/events",
      });
    }),
  ];
  return () => {
    for (const stop of unlisten) stop();
  };
}
