/** Keys of the whole page. They are off while a person types. */

import { signal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { navigate } from "../state/route.ts";
import { cycleTheme } from "../state/theme.ts";
import { Dialog } from "../ui/dialog.tsx";
import { isPaletteOpen } from "./palette.tsx";

export const isHelpOpen = signal(false);

/** Time for the second key of two. */
const CHORD_MS = 1_500;

const TARGETS: Readonly<Record<string, string[]>> = {
  f: [],
  p: ["pipelines"],
  l: ["logs"],
  e: ["events"],
  a: ["alerts"],
  d: ["ledger"],
  r: ["rollouts"],
};

const HELP: readonly [string[], string][] = [
  [["/"], "Search in this view"],
  [["Ctrl", "K"], "Go to a node, pipeline or view"],
  [["g", "f"], "Fleet"],
  [["g", "p"], "Pipelines"],
  [["g", "l"], "Logs"],
  [["g", "e"], "Events"],
  [["g", "a"], "Alerts"],
  [["g", "d"], "Loss ledger"],
  [["g", "r"], "Rollouts"],
  [["t"], "Light or dark colours"],
  [["?"], "This list"],
  [["Esc"], "Close"],
];

export function Shortcuts() {
  useEffect(() => {
    let chordUntil = 0;
    const onKeyDown = (event: KeyboardEvent) => {
      // A dialog has the keys for itself.
      if (document.querySelector("dialog[open]") !== null) return;
      if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "k") {
        event.preventDefault();
        isPaletteOpen.value = true;
        return;
      }
      if (event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target)) return;
      if (performance.now() < chordUntil) {
        chordUntil = 0;
        const target = TARGETS[event.key];
        if (target !== undefined) navigate(target);
        return;
      }
      if (event.key === "g") chordUntil = performance.now() + CHORD_MS;
      else if (event.key === "?") isHelpOpen.value = true;
      else if (event.key === "t") cycleTheme();
      else if (event.key === "/") {
        event.preventDefault();
        const search = document.querySelector<HTMLInputElement>("input[type=search]");
        if (search === null) isPaletteOpen.value = true;
        else search.focus();
      }
    };
    document.addEventListener("keydown", onKeyDown);
    return () => document.removeEventListener("keydown", onKeyDown);
  }, []);
  if (!isHelpOpen.value) return null;
  return (
    <Dialog title="Keyboard" onClose={() => (isHelpOpen.value = false)}>
      <dl class="keys">
        {HELP.map(([keys, meaning]) => (
          <div key={meaning}>
            <dt>
              {keys.map((key) => (
                <kbd key={key}>{key}</kbd>
              ))}
            </dt>
            <dd>{meaning}</dd>
          </div>
        ))}
      </dl>
    </Dialog>
  );
}

function isTyping(target: EventTarget | null): boolean {
  return (
    target instanceof HTMLElement && (target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName))
  );
}
