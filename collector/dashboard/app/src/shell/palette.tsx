/** Goes anywhere by typing: nodes, pipelines, views, and what the page itself can do. */

import { signal } from "@preact/signals";
import { useEffect, useMemo, useState } from "preact/hooks";
import { nodes } from "../state/nodes.ts";
import { pipelineNames, readPipelineNames } from "../state/pipeline_names.ts";
import { navigate } from "../state/route.ts";
import { signOut } from "../state/session.ts";
import type { Tone } from "../state/status.ts";
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
  { id: "alerts", kind: "View", title: "Alerts", run: () => navigate(["alerts"]) },
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
  useEffect(readPipelineNames, []);
  const items = useMemo(() => find(text), [text, nodes.value, pipelineNames.value]);
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
    <Dialog title="Search" onClose={close} isSearch>
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
  const found: Item[] = COMMANDS.filter(({ title }) => title.toLowerCase().includes(wanted));
  if (wanted === "") return found;
  const things: Item[] = [];
  for (const { id, name, tone } of nodes.peek()) {
    if (things.length >= SHOWN) break;
    if (name.toLowerCase().includes(wanted) || id.startsWith(wanted))
      things.push({ id, kind: "Node", title: name, tone, run: () => navigate(["nodes", id]) });
  }
  for (const { id, name } of pipelineNames.peek()) {
    if (things.length >= 2 * SHOWN) break;
    if (name.toLowerCase().includes(wanted) || id.toLowerCase().includes(wanted))
      things.push({ id: `p-${id}`, kind: "Pipeline", title: name, run: () => navigate(["pipelines", id]) });
  }
  // A name that begins with the text is meant more often than one that has it inside.
  const begins = ({ title }: Item) => (title.toLowerCase().startsWith(wanted) ? 0 : 1);
  const lines: Item = {
    id: "lines",
    kind: "Logs",
    title: `Lines with “${text.trim()}”`,
    run: () => navigate(["logs"], { q: text.trim() }),
  };
  // What has the name comes before what the page can do, unless only the latter begins with it.
  const all = [...things, ...found].sort((one, other) => begins(one) - begins(other));
  return [...all.slice(0, SHOWN - 1), lines];
}
