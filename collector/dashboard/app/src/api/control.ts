/** What the centre wants of pipelines, rollouts, and actions on what runs. */

import type { Page, PipelineGraph } from "@systole/client";
import { get, request } from "./http.ts";

export interface Version {
  version: number;
  checksum: string;
  author: string | null;
  note: string | null;
  createdAt: number;
}

export interface Definition {
  id: string;
  environmentName: string;
  version: number;
  stableVersion: number | null;
  paused: boolean;
  checksum: string;
  author: string | null;
  note: string | null;
  changedAt: number;
}

export interface Diff {
  from: number;
  to: number;
  diff: string;
}

export type RolloutState = "running" | "halted" | "complete" | "aborted";

export interface Rollout {
  id: number;
  pipelineId: string | null;
  version: number;
  fromVersion: number | null;
  /** Of a rollout of agents. */
  agentUpdate: { version: string } | null;
  state: RolloutState;
  reason: string;
  stage: number;
  author: string | null;
  startedAt: number;
  changedAt: number;
  finishedAt: number | null;
  deploying: number;
  healthy: number;
  failed: number;
}

export interface RolloutNode {
  nodeId: string;
  nodeName: string;
  canary: boolean;
  stage: number;
  state: "waiting" | "deploying" | "healthy" | "failed" | "unfit";
  reason: string;
  changedAt: number;
  phase: string | null;
  reportedVersion: number | null;
  runningVersion: number | null;
}

/** An event that a sample or a tap has caught. */
export interface CaughtEvent {
  at: number;
  componentId: string;
  event: unknown;
  truncated?: boolean;
}

export const pipelinePath = (id: string, rest = "") => `api/v1/pipelines/${encodeURIComponent(id)}${rest}`;

export const readGraph = (
  id: string,
  parameters: { environment?: string | undefined; node?: string | undefined },
  signal?: AbortSignal,
) => get<PipelineGraph>(pipelinePath(id, "/graph"), parameters, signal);

/** An environment has at most 1,000 of them. */
const MAX_DEFINITIONS = 1_000;

/** Undefined for a pipeline of an agent's own file, which is no error. */
export async function findDefinition(id: string, environment?: string): Promise<Definition | undefined> {
  const { items } = await get<Page<Definition>>("api/v1/definitions", { environment, limit: MAX_DEFINITIONS });
  return items.find((definition) => definition.id === id);
}

export const listVersions = (id: string, environment?: string) =>
  get<Page<Version>>(pipelinePath(id, "/versions"), { environment, limit: 50 });

export const readDiff = (id: string, from: number, to: number, environment?: string) =>
  get<Diff>(pipelinePath(id, "/diff"), { environment, from, to });

export const listRollouts = (parameters: { pipeline?: string; environment?: string | undefined; limit?: number }) =>
  get<Page<Rollout>>("api/v1/rollouts", parameters);

export const readRollout = (id: number) => get<Rollout & { nodes: RolloutNode[] }>(`api/v1/rollouts/${id}`);

export const decideRollout = (id: number, decision: "resume" | "abort") =>
  request<unknown>("POST", `api/v1/rollouts/${id}/${decision}`);

export const rollBack = (id: string, to: number, environment?: string) =>
  request<unknown>("POST", pipelinePath(id, "/rollback"), { parameters: { to, environment } });

export const setPaused = (id: string, paused: boolean, environment?: string) =>
  request<unknown>("POST", pipelinePath(id, paused ? "/pause" : "/resume"), { parameters: { environment } });

export const restartPipeline = (id: string, node: string) =>
  request<unknown>("POST", pipelinePath(id, "/actions/restart"), { body: { node } });

/** What an administrator sets of a node; a field that is left out stays as it is. */
export interface NodeChange {
  name?: string | null;
  labels?: Record<string, string | null> | null;
  maintenance?: { until: number; note?: string } | null;
}

export const changeNode = (id: string, change: NodeChange) =>
  request<unknown>("PATCH", `api/v1/nodes/${encodeURIComponent(id)}`, { body: change });

export const removeNode = (id: string) => request<unknown>("DELETE", `api/v1/nodes/${encodeURIComponent(id)}`);
