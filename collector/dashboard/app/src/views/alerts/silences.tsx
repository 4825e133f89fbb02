import { signal } from "@preact/signals";
import { useState } from "preact/hooks";
import { type Alert, addSilence, endSilence, listSilences, type Silence } from "../../api/alerts.ts";
import { readAlerts } from "../../state/alerts.ts";
import { report } from "../../state/notices.ts";
import { canOperate, environment } from "../../state/session.ts";
import { ask } from "../../ui/dialog.tsx";
import { Answered, Empty } from "../../ui/empty.tsx";
import { ACTIONS, PlainTable } from "../../ui/plain_table.tsx";
import { ScrollCard } from "../../ui/scroll_card.tsx";
import { ToneWord } from "../../ui/status.tsx";
import { Moment } from "../../ui/time.tsx";
import { useQuery } from "../../ui/use_query.ts";

const REFRESH_MS = 15_000;
const DURATIONS = ["30m", "1h", "2h", "4h", "8h", "1d", "7d"];
/** Counts silences that were added here, also from another tab of this view. */
const added = signal(0);

export function SilencesTab() {
  const silences = useQuery(`silences ${added.value}`, listSilences, REFRESH_MS);
  const end = ({ id, matchers }: Silence) =>
    ask({
      title: "End this silence?",
      text: `${matchers.join(" ")}. What fires is reported again.`,
      action: "End",
      act: () => endSilence(id),
      onDone: () => {
        report("The silence has ended");
        silences.reload();
        void readAlerts();
      },
    });
  return (
    <>
      {canOperate.value && (
        <div class="section-head">
          <span />
          <button type="button" onClick={() => askForSilence("", "Silence what matches")}>
            New silence
          </button>
        </div>
      )}
      <ScrollCard label="Silences">
        <Answered answer={silences}>
          {({ items }) =>
            items.length === 0 ? (
              <Empty title="No silence" command={`systole-collector silence add 'node=web-*' 2h "kernel"`}>
                A silence mutes alerts for a time: they fire, and are not reported.
              </Empty>
            ) : (
              <PlainTable heads={["State", "Of", "From", "Until", "Note", { title: "By", isWideOnly: true }, ACTIONS]}>
                {items.map((silence) => (
                  <tr key={silence.id}>
                    <td>
                      <ToneWord
                        tone={silence.active ? "warn" : "off"}
                        word={silence.active ? "Active" : "Not active"}
                      />
                    </td>
                    <td class="mono">{silence.matchers.join(" ")}</td>
                    <td>
                      <Moment at={silence.startsAt} />
                    </td>
                    <td>
                      <Moment at={silence.endsAt} />
                    </td>
                    <td>{silence.note}</td>
                    <td class="wide-only">{silence.author}</td>
                    <td class="right">
                      {canOperate.value && silence.active && (
                        <button type="button" class="small" onClick={() => end(silence)}>
                          End
                        </button>
                      )}
                    </td>
                  </tr>
                ))}
              </PlainTable>
            )
          }
        </Answered>
      </ScrollCard>
    </>
  );
}

/** Mutes this alert; a person can make what is muted wider. */
export function silenceAlert({ rule, nodeName, pipelineId, subject }: Alert): void {
  const matchers = [
    `rule=${rule}`,
    ...(nodeName === null ? [] : [`node=${nodeName}`]),
    ...(pipelineId === null ? [] : [`pipeline=${pipelineId}`]),
  ];
  askForSilence(matchers.join(" "), `Silence ${subject}`);
}

function askForSilence(standard: string, title: string): void {
  const silence = { matchers: standard, duration: "2h", note: "" };
  ask({
    title,
    text: <SilenceForm standard={standard} onChange={(change) => Object.assign(silence, change)} />,
    action: "Silence",
    act: () =>
      addSilence(
        { ...silence, matchers: silence.matchers.split(/\s+/).filter(Boolean) },
        { environment: environment.value },
      ),
    onDone: () => {
      report("The silence has begun");
      added.value += 1;
      void readAlerts();
    },
  });
}

interface Fields {
  matchers: string;
  duration: string;
  note: string;
}

function SilenceForm({ standard, onChange }: { standard: string; onChange: (change: Partial<Fields>) => void }) {
  const [length, setLength] = useState("2h");
  return (
    <>
      <label>
        What is muted: each of these must hold, <code>*</code> stands for anything
        <input
          type="text"
          class="mono"
          placeholder="node=web-* site!=lab"
          defaultValue={standard}
          onInput={({ currentTarget }) => onChange({ matchers: currentTarget.value })}
        />
      </label>
      <label>
        For
        <select
          value={length}
          onChange={({ currentTarget }) => {
            setLength(currentTarget.value);
            onChange({ duration: currentTarget.value });
          }}
        >
          {DURATIONS.map((one) => (
            <option key={one} value={one}>
              {one.replace("m", " min").replace("h", " h").replace("d", " d")}
            </option>
          ))}
        </select>
      </label>
      <label>
        Note
        <input type="text" maxLength={200} onInput={({ currentTarget }) => onChange({ note: currentTarget.value })} />
      </label>
    </>
  );
}
