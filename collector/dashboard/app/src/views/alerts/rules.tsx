import { useState } from "preact/hooks";
import { listRules, type Preview, previewRule } from "../../api/alerts.ts";
import { plural } from "../../format/numbers.ts";
import { duration } from "../../format/times.ts";
import { environment } from "../../state/session.ts";
import { Dialog } from "../../ui/dialog.tsx";
import { Answered, Empty } from "../../ui/empty.tsx";
import { ACTIONS, PlainTable } from "../../ui/plain_table.tsx";
import { ScrollCard } from "../../ui/scroll_card.tsx";
import { Moment } from "../../ui/time.tsx";
import { useQuery } from "../../ui/use_query.ts";
import { measured, Severity, Subject } from "./parts.tsx";

const REFRESH_MS = 15_000;
/** Nothing is stored of what these rules check. */
const WITHOUT_PAST = new Set(["agent", "collector"]);

export function RulesTab() {
  const rules = useQuery("rules", listRules, REFRESH_MS);
  const [opened, setOpened] = useState<string | undefined>(undefined);
  return (
    <>
      <ScrollCard label="Rules">
        <Answered answer={rules}>
          {({ items }) => (
            <PlainTable
              heads={[
                "Rule",
                "Condition",
                { title: "Holds for", align: "right", hint: "So long must the condition hold before the alert fires" },
                "Severity",
                { title: "Reported to", isWideOnly: true },
                { title: "Now", align: "right" },
                ACTIONS,
              ]}
            >
              {items.map((rule) => (
                <tr key={rule.name}>
                  <td>
                    <strong>{rule.name}</strong>
                    {!rule.builtin && <span class="badge is-info">own</span>}
                  </td>
                  <td class="muted">
                    {rule.condition}
                    {rule.match.length > 0 && ` · ${rule.match.join(" ")}`}
                  </td>
                  <td class="right">{duration(rule.forMs)}</td>
                  <td>
                    <Severity severity={rule.severity} />
                  </td>
                  <td class="wide-only muted">{rule.notify.length === 0 ? "every target" : rule.notify.join(", ")}</td>
                  <td class={rule.firing > 0 ? "right tone-bad" : "right faint"}>
                    {rule.firing === 0 && rule.pending === 0
                      ? "–"
                      : [rule.firing > 0 && `${rule.firing} firing`, rule.pending > 0 && `${rule.pending} pending`]
                          .filter(Boolean)
                          .join(", ")}
                  </td>
                  <td class="right">
                    {!WITHOUT_PAST.has(rule.on) && (
                      <button type="button" class="small" onClick={() => setOpened(rule.name)}>
                        Last 7 days
                      </button>
                    )}
                  </td>
                </tr>
              ))}
            </PlainTable>
          )}
        </Answered>
      </ScrollCard>
      <p class="faint note">
        Rules are set in the collector's configuration, each by its name: its limits, its targets, or that it is off.
      </p>
      {opened !== undefined && <PreviewDialog name={opened} onClose={() => setOpened(undefined)} />}
    </>
  );
}

/** What the rule would have said of the last week. */
function PreviewDialog({ name, onClose }: { name: string; onClose: () => void }) {
  const preview = useQuery(`preview ${name}`, (signal) =>
    previewRule(name, { environment: environment.value }, signal),
  );
  return (
    <Dialog title={`${name}: the last 7 days`} onClose={onClose} wide>
      <Answered answer={preview}>{(data) => <Fired preview={data} onLeave={onClose} />}</Answered>
    </Dialog>
  );
}

function Fired({ preview: { condition, fired, cut, items }, onLeave }: { preview: Preview; onLeave: () => void }) {
  if (items.length === 0) return <Empty title="It would not have fired">{condition}</Empty>;
  return (
    <>
      <p class="muted">
        {condition}: fires {plural(fired, "time")}
        {cut && ", not all of them are listed"}.
      </p>
      <PlainTable heads={["About", "Fired", "Lasted", { title: "Value", align: "right" }]}>
        {items.map((item) => (
          <tr key={`${item.subject}${item.firedAt}`}>
            {/* biome-ignore lint/a11y/useKeyWithClickEvents: the link in it has the keys */}
            <td onClick={onLeave}>
              <Subject {...item} />
            </td>
            <td>
              <Moment at={item.firedAt} />
            </td>
            <td>{item.endedAt === null ? "until now" : duration(item.endedAt - item.firedAt)}</td>
            <td class="right">{measured(item.value)}</td>
          </tr>
        ))}
      </PlainTable>
    </>
  );
}
