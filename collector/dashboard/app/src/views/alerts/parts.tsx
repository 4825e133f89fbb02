/** What the tables of alerts have in common. */

import type { AlertSeverity } from "@systole/client";
import { short } from "../../format/numbers.ts";
import { nodeLink, pipelineLink } from "../../state/route.ts";
import { toneOf, wordOf } from "../../state/status.ts";
import { ToneWord } from "../../ui/status.tsx";

export function Severity({ severity }: { severity: AlertSeverity }) {
  return <ToneWord tone={toneOf(severity)} word={wordOf(severity)} />;
}

/** The node or the pipeline that it is about; a part of the collector has no page. */
export function Subject({
  subject,
  nodeId,
  pipelineId,
}: {
  subject: string;
  nodeId?: string | null | undefined;
  pipelineId?: string | null | undefined;
}) {
  if (nodeId == null) return <>{subject}</>;
  return <a href={pipelineId == null ? nodeLink(nodeId) : pipelineLink(pipelineId, { node: nodeId })}>{subject}</a>;
}

export function measured(value: number | null): string {
  return value === null ? "–" : short(value);
}
