/** Goes anywhere by typing: nodes, pipelines, views, and what the page itself can do. */

import { signal } from "@preact/signals";
import { useMemo, useState } from "preact/hooks";
import { fleet } from "../state/fleet.ts";
import { navigate } from "../state/route.ts";
import { signOut } from "../state/session.ts";
import { type Tone, toneOf } from "../state/status.ts";
import { cycleTheme } from "../state/theme.ts";
import { Dialog } from "../ui/dialog.tsx";
import { Shape } from "../ui/status.tsx";
import { isHelpOpen } from "./shortcuts.tsx";

export const isPaletteOpen = signal(false);

interface Item {
  id: string;
  kind: string;
  title: string;
  tone?: Tone;
  run: () => void;
}

/** Enough to choose from; a longer query finds the others. */
const SHOWN = 12;

const COMMANDS: readonly Item[] = [
  { id: "fleet", kind: "View", title: "Fleet", run: () => navigate([]) },
  { id: "pipelines", kind: "View", title: "Pipelines", run: () => navigate(["pipelines"]) },
  { id: "logs", kind: "View", title: "Logs", run: () => navigate(["logs"]) },
  { id: "events", kind: "View", title: "Events", run: () => navigate(["events"]) },
  { id: "ledger", kind: "View", title: "Loss ledger", run: () => navigate(["ledger"]) },
  { id: "rollouts", kind: "View", title: "Rollouts", run: () => navigate(["rollouts"]) },
  { id: "theme", kind: "Command", title: "Light or dark colours", run: cycleTheme },
  { id: "keys", kind: "Command", title: "Keyboard shortcuts", run: () => (isHelpOpen.value = true) },
  { id: "api", kind: "Command", title: "HTTP interface (/docs)", run: () => window.open("docs") },
  { id: "out", kind: "Command", title: "Sign out", run: () => void signOut() },
];

export function Palette() {
  return isPaletteOpen.value ? <OpenPalette /> : null;
}

function OpenPalette() {
  const [text, setText] = useState("");
  const [chosen, setChosen] = useState(0);
  const { nodes, pipelines } = fleet.value;
  const items = useMemo(() => find(text), [text, nodes, pipelines]);
  const close = () => (isPaletteOpen.value = false);
  const run = (item: Item | undefined) => {
    if (item === undefined) return;
    close();
    item.run();
  };
  const onKeyDown = (event: KeyboardEvent) => {
    const step = event.key === "ArrowDown" ? 1 : event.key === "ArrowUp" ? -1 : 0;
    if (step !== 0) {
      event.preventDefault();
      setChosen((chosen + step + items.length) % Math.max(1, items.length));
    } else if (event.key === "Enter") {
      event.preventDefault();
      run(items[chosen]);
    }
  };
  return (
    <Dialog title="Search" onClose={close}>
      <input
        class="palette-input"
        type="text"
        role="combobox"
        aria-expanded="true"
        aria-controls="palette-items"
        aria-activedescendant={items[chosen] === undefined ? undefined : `palette-${items[chosen].id}`}
        aria-label="Node, pipeline, view or command"
        placeholder="Node, pipeline, view or command"
        value={text}
        onInput={({ currentTarget }) => {
          setText(currentTarget.value);
          setChosen(0);
        }}
        onKeyDown={onKeyDown}
      />
      <div class="palette-items" id="palette-items" role="listbox" aria-label="Results">
        {items.map((item, index) => (
          <div
            key={item.id}
            id={`palette-${item.id}`}
            role="option"
            tabIndex={-1}
            aria-selected={index === chosen}
            onPointerMove={() => setChosen(index)}
            onClick={() => run(item)}
            onKeyDown={onKeyDown}
          >
            {item.tone === undefined ? <span class="shape-place" /> : <Shape tone={item.tone} />}
            <span class="palette-title">{item.title}</span>
            <span class="faint">{item.kind}</span>
          </div>
        ))}
        {items.length === 0 && <p class="faint">Nothing has this name. Lines are searched in the view of logs.</p>}
      </div>
    </Dialog>
  );
}

function find(text: string): Item[] {
  const wanted = text.trim().toLowerCase();
  const { nodes, pipelines } = fleet.peek();
  const found: Item[] = COMMANDS.filter(({ title }) => title.toLowerCase().includes(wanted));
  if (wanted === "") return found;
  const things: Item[] = [];
  for (const { nodeId, name, status } of nodes.values()) {
    if (things.length >= SHOWN) break;
    if (name.toLowerCase().includes(wanted) || nodeId.startsWith(wanted)) {
      things.push({
        id: nodeId,
        kind: "Node",
        title: name,
        tone: toneOf(status),
        run: () => navigate(["nodes", nodeId]),
      });
    }
  }
  const seen = new Set<string>();
  for (const { pipelineId, pipelineName } of pipelines.values()) {
    if (seen.size >= SHOWN) break;
    if (seen.has(pipelineId)) continue;
    if (pipelineName.toLowerCase().includes(wanted) || pipelineId.toLowerCase().includes(wanted)) {
      seen.add(pipelineId);
      things.push({
        id: `p-${pipelineId}`,
        kind: "Pipeline",
        title: pipelineName,
        run: () => navigate(["pipelines", pipelineId]),
      });
    }
  }
  things.push({
    id: "lines",
    kind: "Logs",
    title: `Lines with “${text.trim()}”`,
    run: () => navigate(["logs"], { q: text.trim() }),
  });
  return [...found, ...things].slice(0, SHOWN);
}
