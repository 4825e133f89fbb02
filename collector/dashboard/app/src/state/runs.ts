/** Pipelines on nodes as a query knows them, with the changes that came after it. */

import type { EventOf, PipelineOnNode, PipelineStatus } from "@systole/client";
import { useEffect, useState } from "preact/hooks";
import { onChange } from "./fleet.ts";
import { onWatchedChange } from "./live.ts";

type Change = EventOf<"status_change">;

/** The runs of a node or of a pipeline. A change of a run that is not known has it read again. */
export function useRuns(
  read: readonly PipelineOnNode[] | undefined,
  isOf: (change: Change) => boolean,
  reload: () => void,
): readonly PipelineOnNode[] {
  const [runs, setRuns] = useState(read ?? []);
  useEffect(() => {
    if (read !== undefined) setRuns(read);
  }, [read]);
  useEffect(() => {
    const take = (change: Change) => {
      if (change.pipelineId === undefined || !isOf(change)) return;
      setRuns((before) => {
        const { next, isKnown } = withChange(before, change);
        if (!isKnown && change.toStatus !== "REMOVED") reload();
        return next;
      });
    };
    // The main stream has no changes while there are too many of them.
    const unlisten = [onChange(take), onWatchedChange(take)];
    return () => {
      for (const stop of unlisten) stop();
    };
  }, [isOf]);
  return runs;
}

export function withChange(
  runs: readonly PipelineOnNode[],
  change: Change,
): { next: readonly PipelineOnNode[]; isKnown: boolean } {
  const { nodeId, pipelineId, toStatus, reason, timestamp } = change;
  const index = runs.findIndex((run) => run.nodeId === nodeId && run.pipelineId === pipelineId);
  const known = runs[index];
  if (known === undefined) return { next: runs, isKnown: false };
  if (toStatus === "REMOVED") return { next: runs.toSpliced(index, 1), isKnown: true };
  const since = known.status === toStatus ? known.since : timestamp;
  return { next: runs.with(index, { ...known, status: toStatus as PipelineStatus, reason, since }), isKnown: true };
}
