/** Alerts, the rules that make them, silences, and the targets that are told. */

import type { AlertChange, AlertSeverity, AlertState, Page } from "@systole/client";
import { get, request } from "./http.ts";

export interface Alert {
  id: string;
  rule: string;
  severity: AlertSeverity;
  state: AlertState;
  subject: string;
  nodeId: string | null;
  nodeName: string | null;
  pipelineId: string | null;
  text: string;
  value: number | null;
  since: number;
  firedAt: number | null;
  endedAt: number | null;
  notifiedAt: number | null;
  /** There is no sample now: the state is kept. */
  unknown: boolean;
  /** Why it fires and is not reported. */
  muted: "silence" | "maintenance" | "node_down" | null;
  silenceId: number | null;
}

export type NumberedAlert = AlertChange & { seq: number };

export interface Rule {
  name: string;
  builtin: boolean;
  on: string;
  condition: string;
  summary: string;
  match: string[];
  forMs: number;
  clearForMs: number;
  severity: AlertSeverity;
  /** Empty: every target. */
  notify: string[];
  firing: number;
  pending: number;
}

export interface Preview {
  rule: string;
  condition: string;
  from: number;
  to: number;
  /** Whether there were more than are listed. */
  cut: boolean;
  fired: number;
  items: {
    subject: string;
    nodeId: string | null;
    pipelineId: string | null;
    since: number;
    firedAt: number;
    endedAt: number | null;
    value: number | null;
    text: string;
  }[];
}

export interface Silence {
  id: number;
  environmentName: string | null;
  matchers: string[];
  startsAt: number;
  endsAt: number;
  active: boolean;
  author: string | null;
  note: string | null;
}

export interface Target {
  name: string;
  kind: string;
  host: string;
  lastAttemptAt: number | null;
  lastSuccessAt: number | null;
  failingSince: number | null;
  lastError: string | null;
  sent: number;
  failed: number;
  waiting: number;
}

export interface Tried {
  target: string;
  ok: boolean;
  error: string | null;
}

type InEnvironment = { environment?: string | undefined };

export const listAlerts = (parameters: InEnvironment & { limit: number }, signal?: AbortSignal) =>
  get<Page<Alert>>("api/v1/alerts", parameters, signal);

export const listAlertHistory = (
  parameters: InEnvironment & { cursor?: string | undefined; limit: number },
  signal?: AbortSignal,
) => get<Page<NumberedAlert>>("api/v1/alerts/history", { ...parameters, order: "desc" }, signal);

export const listRules = (signal?: AbortSignal) => get<Page<Rule>>("api/v1/alerts/rules", {}, signal);

export const previewRule = (name: string, parameters: InEnvironment, signal?: AbortSignal) =>
  get<Preview>(`api/v1/alerts/rules/${encodeURIComponent(name)}/preview`, { ...parameters, from: "-7d" }, signal);

export const listTargets = (signal?: AbortSignal) => get<Page<Target>>("api/v1/alerts/targets", {}, signal);

export const testTarget = (name: string) =>
  request<Tried>("POST", `api/v1/alerts/targets/${encodeURIComponent(name)}/test`);

export const listSilences = (signal?: AbortSignal) => get<Page<Silence>>("api/v1/silences", {}, signal);

export const addSilence = (silence: { matchers: string[]; duration: string; note: string }, of: InEnvironment) =>
  request<Silence>("POST", "api/v1/silences", { parameters: of, body: silence });

export const endSilence = (id: number) => request<void>("DELETE", `api/v1/silences/${id}`);
