import { count, rate } from "../../format/numbers.ts";
import { setQuery } from "../../state/route.ts";
import { TONES, type Tone } from "../../state/status.ts";
import { type Totals, totals } from "../../state/totals.ts";
import { Sparkline } from "../../ui/sparkline.tsx";
import { Shape } from "../../ui/status.tsx";
import { type Counts, nodeCounts, pipelineCounts } from "./model.ts";

const NODE_WORDS: Readonly<Record<Tone, string>> = {
  ok: "healthy",
  bad: "with a crash",
  lost: "unreachable",
  warn: "degraded",
  busy: "starting",
  unknown: "unknown",
  off: "offline",
};

const PIPELINE_WORDS: Readonly<Record<Tone, string>> = {
  ...NODE_WORDS,
  ok: "running",
  bad: "crashed",
  lost: "unreachable",
  off: "stopped",
};

export function TotalsRow({ chosen }: { chosen: readonly Tone[] }) {
  return (
    <section class="totals" aria-label="Totals of the fleet">
      <StateCard title="Nodes" counts={nodeCounts.value} words={NODE_WORDS} chosen={chosen} canFilter />
      <StateCard title="Pipelines" counts={pipelineCounts.value} words={PIPELINE_WORDS} chosen={[]} />
      <RateCard title="Events in" of="eventsIn" tone="accent" />
      <RateCard title="Events out" of="eventsOut" tone="accent-2" />
      <RateCard title="Errors" of="errors" tone="bad" />
      <RateCard title="Discarded" of="discarded" tone="warn" />
    </section>
  );
}

function StateCard({
  title,
  counts,
  words,
  chosen,
  canFilter,
}: {
  title: string;
  counts: Counts;
  words: Record<Tone, string>;
  chosen: readonly Tone[];
  canFilter?: boolean;
}) {
  const shown = TONES.filter((tone) => (counts.byTone.get(tone) ?? 0) > 0).reverse();
  const toggle = (tone: Tone) => {
    const next = chosen.includes(tone) ? chosen.filter((one) => one !== tone) : [...chosen, tone];
    setQuery({ state: next.join(",") });
  };
  return (
    <div class="card total-card states">
      <h2>{title}</h2>
      <div class="total-value">{count(counts.total)}</div>
      <div class="state-bar" aria-hidden="true">
        {shown.map((tone) => (
          <span key={tone} class={`fill-${tone}`} style={{ flexGrow: counts.byTone.get(tone) ?? 0 }} />
        ))}
      </div>
      <ul class="state-legend">
        {shown.reverse().map((tone) => {
          const text = (
            <>
              <Shape tone={tone} size={10} /> <strong>{count(counts.byTone.get(tone))}</strong> {words[tone]}
            </>
          );
          return (
            <li key={tone}>
              {canFilter === true ? (
                <button type="button" class="chip" aria-pressed={chosen.includes(tone)} onClick={() => toggle(tone)}>
                  {text}
                </button>
              ) : (
                <span class="chip">{text}</span>
              )}
            </li>
          );
        })}
      </ul>
    </div>
  );
}

function RateCard({ title, of, tone }: { title: string; of: keyof Totals; tone: string }) {
  const values = totals.value.map((one) => one[of]);
  const last = values.at(-1);
  return (
    <div class="card total-card rate-card">
      <h2>{title}</h2>
      <div class="total-value">
        {rate(last).replace("/s", "")}
        <small>/s</small>
      </div>
      <Sparkline values={values} width={160} height={34} places={60} tone={last === 0 ? "faint" : tone} />
    </div>
  );
}
