/** What the address says of the list of nodes: filters, order, groups. The collector applies them. */

import type { NodeStatus, PipelineStatus } from "@systole/client";

export const NODE_STATUSES = ["DEGRADED", "UNREACHABLE", "UNKNOWN", "OFFLINE", "HEALTHY"] as const;
export const PIPELINE_STATUSES = [
  "CRASH_LOOP",
  "CRASHED",
  "DEGRADED",
  "STARTING",
  "PENDING",
  "UNKNOWN",
  "STOPPED",
  "RUNNING",
] as const;

/** Columns by which the collector sorts, with the name that it has for each. */
const SORTS = {
  state: "state",
  name: "name",
  in: "eventsIn",
  out: "eventsOut",
  errors: "errors",
  cpu: "cpu",
  memory: "memory",
  seen: "lastReport",
  version: "version",
} as const;

export interface NodeFilter {
  q: string | undefined;
  label: string[] | undefined;
  status: NodeStatus[] | undefined;
  pipelineStatus: PipelineStatus[] | undefined;
}

export interface NodeOrder {
  sort: (typeof SORTS)[keyof typeof SORTS];
  order: "asc" | "desc";
}

export function readFilter(query: URLSearchParams): NodeFilter {
  const among = <T extends string>(name: string, known: readonly T[]): T[] | undefined => {
    const chosen = (query.get(name) ?? "").split(",").filter((one): one is T => known.includes(one as T));
    return chosen.length === 0 ? undefined : chosen;
  };
  const labels = (query.get("label") ?? "").split(/[\s,]+/).filter(Boolean);
  return {
    q: query.get("q")?.trim() || undefined,
    label: labels.length === 0 ? undefined : labels.map((label) => label.replace("=", ":")),
    status: among("state", NODE_STATUSES),
    pipelineStatus: among("run", PIPELINE_STATUSES),
  };
}

export function isFiltered(filter: NodeFilter): boolean {
  return Object.values(filter).some((value) => value !== undefined);
}

export const NO_FILTER = { q: "", state: "", run: "", label: "" };

export function readOrder(query: URLSearchParams): { by: string; isDescending: boolean; order: NodeOrder } {
  const by = query.get("sort") ?? "state";
  const isDescending = query.get("desc") === "1";
  const sort = SORTS[by as keyof typeof SORTS] ?? "state";
  return { by, isDescending, order: { sort, order: isDescending ? "desc" : "asc" } };
}
