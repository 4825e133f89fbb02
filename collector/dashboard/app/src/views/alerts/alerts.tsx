/** What is wrong now, what was, and who is told. */

import type { ComponentType } from "preact";
import { useEffect } from "preact/hooks";
import { link, route } from "../../state/route.ts";
import { FiringTab } from "./firing.tsx";
import { HistoryTab } from "./history.tsx";
import { RulesTab } from "./rules.tsx";
import { SilencesTab } from "./silences.tsx";
import { TargetsTab } from "./targets.tsx";

const TABS: readonly { id: string; title: string; view: ComponentType }[] = [
  { id: "", title: "Now", view: FiringTab },
  { id: "history", title: "History", view: HistoryTab },
  { id: "rules", title: "Rules", view: RulesTab },
  { id: "silences", title: "Silences", view: SilencesTab },
  { id: "targets", title: "Targets", view: TargetsTab },
];

export function AlertsView() {
  const tab = TABS.find(({ id }) => id === (route.value.query.get("tab") ?? "")) ?? TABS[0];
  useEffect(() => {
    document.title = "Alerts · Systole";
  }, []);
  const View = tab?.view ?? FiringTab;
  return (
    <>
      <div class="view-head">
        <h1>Alerts</h1>
      </div>
      <nav class="tabs" aria-label="Parts of alerts">
        {TABS.map((one) => (
          <a key={one.id} href={link(["alerts"], { tab: one.id })} aria-current={one === tab ? "page" : undefined}>
            {one.title}
          </a>
        ))}
      </nav>
      <View />
    </>
  );
}
