/** What is done to several nodes at once. Each is asked for on its own, so that one that fails costs no other. */

import type { FleetNode } from "@systole/client";
import { useState } from "preact/hooks";
import { changeNode, removeNode, restartPipeline } from "../../api/control.ts";
import { describe } from "../../api/http.ts";
import { plural } from "../../format/numbers.ts";
import { parseLabels } from "../../state/labels.ts";
import { notify } from "../../state/notices.ts";
import { canAdminister } from "../../state/session.ts";
import { ask } from "../../ui/dialog.tsx";

export function BulkBar({ nodes: rows, onDone }: { nodes: readonly FleetNode[]; onDone: () => void }) {
  const nodes = plural(rows.length, "node");
  const restarts = rows.flatMap(({ id, pipelines }) => pipelines.map((pipeline) => ({ id, pipelineId: pipeline.id })));
  return (
    <div class="bulk" role="toolbar" aria-label="Actions on the selection">
      <strong>{nodes} selected</strong>
      <button
        type="button"
        onClick={() =>
          ask({
            title: `Restart ${plural(restarts.length, "pipeline")}?`,
            text: `On ${names(rows)}. Each process is stopped in order and started again.`,
            action: "Restart",
            act: () => each("Restarted", restarts, ({ id, pipelineId }) => restartPipeline(pipelineId, id)),
            onDone,
          })
        }
      >
        Restart pipelines
      </button>
      {canAdminister.value && <Administer rows={rows} onDone={onDone} />}
      <button type="button" class="quiet" onClick={onDone}>
        Clear
      </button>
    </div>
  );
}

function Administer({ rows, onDone }: { rows: readonly FleetNode[]; onDone: () => void }) {
  const nodes = plural(rows.length, "node");
  return (
    <>
      <button
        type="button"
        onClick={() => {
          let hours = 2;
          ask({
            title: `Maintenance of ${nodes}`,
            text: <HoursField onChange={(value) => (hours = value)} />,
            action: "Begin",
            act: () =>
              each("In maintenance", rows, ({ id }) =>
                changeNode(id, { maintenance: { until: Date.now() + hours * 3_600_000 } }),
              ),
            onDone,
          });
        }}
      >
        Maintenance
      </button>
      <button
        type="button"
        onClick={() => {
          let text = "";
          ask({
            title: `Label ${nodes}`,
            text: <LabelField onChange={(value) => (text = value)} />,
            action: "Set",
            act: () => each("Labelled", rows, ({ id }) => changeNode(id, { labels: parseLabels(text) })),
            onDone,
          });
        }}
      >
        Label
      </button>
      <button
        type="button"
        class="danger"
        onClick={() =>
          ask({
            title: `Remove ${nodes}?`,
            text: `${names(rows)} and all their data are removed. An agent that still has an enrolment token comes back as a new node.`,
            action: "Remove",
            isDangerous: true,
            act: () => each("Removed", rows, ({ id }) => removeNode(id)),
            onDone,
          })
        }
      >
        Remove
      </button>
    </>
  );
}

export function HoursField({ onChange }: { onChange: (hours: number) => void }) {
  const [hours, setHours] = useState(2);
  return (
    <label>
      Hours{" "}
      <input
        type="number"
        min="0.25"
        max="8784"
        step="0.25"
        value={hours}
        onInput={({ currentTarget }) => {
          setHours(currentTarget.valueAsNumber);
          onChange(currentTarget.valueAsNumber);
        }}
      />
    </label>
  );
}

export function LabelField({ onChange }: { onChange: (text: string) => void }) {
  return (
    <label>
      Labels, like <code>site=lab old-</code>, where <code>old-</code> removes one
      <input type="text" onInput={({ currentTarget }) => onChange(currentTarget.value)} />
    </label>
  );
}

function names(rows: readonly FleetNode[]): string {
  const shown = rows.slice(0, 3).map(({ name }) => name);
  return rows.length > 3 ? `${shown.join(", ")} and ${rows.length - 3} more` : shown.join(", ");
}

async function each<T>(done: string, items: readonly T[], act: (item: T) => Promise<unknown>): Promise<void> {
  const errors: string[] = [];
  for (const item of items) await act(item).catch((error: unknown) => errors.push(describe(error)));
  const good = items.length - errors.length;
  notify({
    kind: errors.length === 0 ? "success" : "error",
    title: `${done}: ${good} of ${items.length}`,
    text: [...new Set(errors)].slice(0, 3).join("; "),
    href: undefined,
  });
}
