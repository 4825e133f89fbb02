import { listTargets, type Target, testTarget } from "../../api/alerts.ts";
import { count } from "../../format/numbers.ts";
import { notify } from "../../state/notices.ts";
import { canOperate } from "../../state/session.ts";
import { ask } from "../../ui/dialog.tsx";
import { Answered, Empty } from "../../ui/empty.tsx";
import { ACTIONS, PlainTable } from "../../ui/plain_table.tsx";
import { ScrollCard } from "../../ui/scroll_card.tsx";
import { ToneWord } from "../../ui/status.tsx";
import { Ago } from "../../ui/time.tsx";
import { useQuery } from "../../ui/use_query.ts";

const REFRESH_MS = 10_000;

export function TargetsTab() {
  const targets = useQuery("targets", listTargets, REFRESH_MS);
  const test = ({ name }: Target) =>
    ask({
      title: `Send a test to ${name}?`,
      text: "A message that says that it is a test.",
      action: "Send",
      act: async () => {
        const { ok, error } = await testTarget(name);
        notify({
          kind: ok ? "success" : "error",
          title: ok ? `${name} has taken the test` : `${name} did not take the test`,
          text: error ?? "",
          href: undefined,
        });
      },
      onDone: targets.reload,
    });
  return (
    <ScrollCard label="Targets">
      <Answered answer={targets}>
        {({ items }) =>
          items.length === 0 ? (
            <Empty title="Nothing is told yet" command={'notify = ["https://hooks.slack.com/services/…"]'}>
              A line in the collector's configuration names what receives alerts: Slack, webhooks, ntfy, PagerDuty,
              e-mail or an Alertmanager.
            </Empty>
          ) : (
            <PlainTable
              heads={[
                "State",
                "Target",
                "Last message",
                { title: "Sent", align: "right" },
                { title: "Failed", align: "right" },
                { title: "Waiting", align: "right", hint: "Messages that are tried again" },
                ...(canOperate.value ? [ACTIONS] : []),
              ]}
            >
              {items.map((target) => (
                <tr key={target.name}>
                  <td>
                    <State target={target} />
                  </td>
                  <td>
                    <div class="two-lines">
                      <strong>{target.name}</strong>
                      {target.lastError !== null && target.failingSince !== null && (
                        <span class="reason-line" title={target.lastError}>
                          {target.lastError}
                        </span>
                      )}
                    </div>
                  </td>
                  <td>
                    <Ago at={target.lastSuccessAt} />
                  </td>
                  <td class="right">{count(target.sent)}</td>
                  <td class={target.failed > 0 ? "right tone-warn" : "right faint"}>{count(target.failed)}</td>
                  <td class={target.waiting > 0 ? "right tone-warn" : "right faint"}>{count(target.waiting)}</td>
                  {canOperate.value && (
                    <td class="right">
                      <button type="button" class="small" onClick={() => test(target)}>
                        Test
                      </button>
                    </td>
                  )}
                </tr>
              ))}
            </PlainTable>
          )
        }
      </Answered>
    </ScrollCard>
  );
}

function State({ target: { failingSince, lastAttemptAt } }: { target: Target }) {
  if (failingSince !== null) return <ToneWord tone="bad" word="Fails" />;
  return lastAttemptAt === null ? <ToneWord tone="off" word="Not used yet" /> : <ToneWord tone="ok" word="Works" />;
}
