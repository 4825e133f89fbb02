import { count, rate } from "../../format/numbers.ts";
import { now } from "../../state/clock.ts";
import { setQuery } from "../../state/route.ts";
import { rankOf, toneOf } from "../../state/status.ts";
import { type Counts, nodeCounts, pipelineCounts, type Rates, totals } from "../../state/totals.ts";
import { Sparkline } from "../../ui/sparkline.tsx";
import { Shape } from "../../ui/status.tsx";
import type { NodeFilter } from "./query.ts";

/** The length of the small lines. */
const SECONDS = 60;

const WORDS: Readonly<Record<string, string>> = {
  HEALTHY: "healthy",
  DEGRADED: "degraded",
  UNREACHABLE: "unreachable",
  OFFLINE: "offline",
  UNKNOWN: "unknown",
  RUNNING: "running",
  STARTING: "starting",
  PENDING: "pending",
  STOPPED: "stopped",
  CRASHED: "crashed",
  CRASH_LOOP: "in a crash loop",
};

export function TotalsRow({ filter }: { filter: NodeFilter }) {
  return (
    <section class="totals" aria-label="Totals of the fleet">
      <StateCard title="Nodes" counts={nodeCounts.value} parameter="state" chosen={filter.status ?? []} />
      <StateCard title="Pipelines" counts={pipelineCounts.value} parameter="run" chosen={filter.pipelineStatus ?? []} />
      <RateCard title="Events in" of="eventsIn" tone="accent" />
      <RateCard title="Events out" of="eventsOut" tone="accent-2" />
      <RateCard title="Errors" of="errors" tone="bad" />
      <RateCard title="Discarded" of="discarded" tone="warn" />
    </section>
  );
}

/** How many are in each state. A click shows the nodes that are, or that have such a pipeline. */
function StateCard({
  title,
  counts,
  parameter,
  chosen,
}: {
  title: string;
  counts: Counts | undefined;
  parameter: "state" | "run";
  chosen: readonly string[];
}) {
  const counted = [...(counts?.byStatus ?? [])].filter(([status, many]) => many > 0 || chosen.includes(status));
  // A filter whose last node has left the state can still be switched off.
  for (const status of chosen) if (!counted.some(([known]) => known === status)) counted.push([status, 0]);
  counted.sort(([one], [other]) => rankOf(toneOf(one)) - rankOf(toneOf(other)) || (one < other ? -1 : 1));
  const toggle = (status: string) => {
    const next = chosen.includes(status) ? chosen.filter((one) => one !== status) : [...chosen, status];
    setQuery({ [parameter]: next.join(",") });
  };
  return (
    <div class="card total-card states">
      <h2>{title}</h2>
      <div class="total-value">{count(counts?.total)}</div>
      <div class="state-bar" aria-hidden="true">
        {[...counted].reverse().map(([status, many]) => (
          <span key={status} class={`fill-${toneOf(status)}`} style={{ flexGrow: many }} />
        ))}
      </div>
      <ul class="state-legend">
        {counted.map(([status, many]) => (
          <li key={status}>
            <button
              type="button"
              class="chip"
              aria-pressed={chosen.includes(status)}
              title={parameter === "state" ? "Show these nodes" : "Show nodes with such a pipeline"}
              onClick={() => toggle(status)}
            >
              <Shape tone={toneOf(status)} size={10} /> <strong>{count(many)}</strong> {WORDS[status] ?? status}
            </button>
          </li>
        ))}
      </ul>
    </div>
  );
}

/** A value for each second: totals that do not change are not sent again. */
function lastMinute(known: readonly Rates[], of: keyof Rates, end: number): (number | null)[] {
  let next = 0;
  let value: number | null = null;
  return Array.from({ length: SECONDS }, (_, second) => {
    const at = end - (SECONDS - 1 - second) * 1_000;
    for (; next < known.length && (known[next]?.at ?? 0) <= at; next += 1) value = known[next]?.[of] ?? null;
    return value;
  });
}

function RateCard({ title, of, tone }: { title: string; of: keyof Rates; tone: string }) {
  const values = lastMinute(totals.value, of, now.value);
  const last = totals.value.at(-1)?.[of];
  return (
    <div class="card total-card rate-card">
      <h2>{title}</h2>
      <div class="total-value">
        {rate(last).replace("/s", "")}
        <small>/s</small>
      </div>
      <Sparkline values={values} width={160} height={34} tone={last === 0 ? "faint" : tone} />
    </div>
  );
}
