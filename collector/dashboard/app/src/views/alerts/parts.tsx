/** What the tables of alerts have in common. */

import type { AlertSeverity } from "@systole/client";
import { short } from "../../format/numbers.ts";
import { nodeLink, pipelineLink } from "../../state/route.ts";
import { toneOf, wordOf } from "../../state/status.ts";
import { ToneWord } from "../../ui/status.tsx";
import type { Column } from "../../ui/table.tsx";

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

interface Described {
  subject: string;
  nodeId?: string | null | undefined;
  pipelineId?: string | null | undefined;
  text: string;
  rule: string;
  value: number | null;
}

export const ABOUT: Column<Described> = {
  id: "subject",
  title: "About",
  cell: (alert) => (
    <div class="two-lines">
      <Subject {...alert} />
      <span class="reason-line" title={alert.text}>
        {alert.text}
      </span>
    </div>
  ),
};

export const RULE: Column<Described> = {
  id: "rule",
  title: "Rule",
  width: 2,
  cell: ({ rule }) => <span class="muted">{rule}</span>,
};

export const VALUE: Column<Described> = {
  id: "value",
  title: "Value",
  align: "right",
  width: 2,
  cell: ({ value }) => <span class="number">{measured(value)}</span>,
};
