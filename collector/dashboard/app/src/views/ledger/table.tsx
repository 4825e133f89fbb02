import { useMemo } from "preact/hooks";
import { queries } from "../../api/http.ts";
import { count, delivered } from "../../format/numbers.ts";
import { clockTime, day, exact } from "../../format/times.ts";
import { now } from "../../state/clock.ts";
import { route, setQuery } from "../../state/route.ts";
import { environment } from "../../state/session.ts";
import { download } from "../../ui/copy.tsx";
import { Empty, Failure, Loading } from "../../ui/empty.tsx";
import { Icon } from "../../ui/icons.tsx";
import { ScrollCard } from "../../ui/scroll_card.tsx";
import { Shape } from "../../ui/status.tsx";
import { useQuery } from "../../ui/use_query.ts";
import { type LedgerRow, sumRows, toCsv, toLedger } from "./model.ts";

const HOUR = 3_600_000;
const DAY = 86_400_000;

/** The rows of a time: hours of a day, days of a longer time. */
export const TIMES: readonly { id: string; title: string; ms: number; rowMs: number; step: "minute" | "hour" }[] = [
  { id: "24h", title: "24 h by hour", ms: DAY, rowMs: HOUR, step: "minute" },
  { id: "7d", title: "7 d by day", ms: 7 * DAY, rowMs: DAY, step: "hour" },
  { id: "30d", title: "30 d by day", ms: 30 * DAY, rowMs: DAY, step: "hour" },
];

export const STANDARD_TARGET = 99.9;
const REFRESH_MS = 60_000;

export function readTarget(query: URLSearchParams): number {
  const target = Number(query.get("target"));
  return target > 0 && target <= 100 ? target : STANDARD_TARGET;
}

export function Ledger({ id, node }: { id: string; node: string | undefined }) {
  const { query } = route.value;
  const target = readTarget(query);
  const time = TIMES.find((one) => one.id === query.get("time")) ?? TIMES[0];
  const ms = time?.ms ?? DAY;
  const rowMs = time?.rowMs ?? HOUR;
  const step = time?.step ?? "minute";
  const history = useQuery(
    `ledger ${id} ${node} ${time?.id}`,
    async (signal) => {
      const to = Date.now();
      // Whole rows: the first one begins with its hour or day.
      const from = Math.ceil((to - ms) / rowMs) * rowMs;
      const { items, step: got } = await queries.pipelineMinutes(
        id,
        { node, environment: environment.value, from, to, step },
        { signal },
      );
      return { items, step: got, from, to };
    },
    REFRESH_MS,
  );
  const rows = useMemo(() => {
    if (history.data === undefined) return [];
    const { items, step: got, from, to } = history.data;
    return toLedger(items, got, from, to, rowMs).reverse();
  }, [history.data]);
  const sum = useMemo(() => sumRows(rows), [rows]);
  void now.value;
  return (
    <>
      <div class="section-head">
        <fieldset class="segmented" aria-label="Time of the ledger">
          {TIMES.map(({ id: name, title }) => (
            <button key={name} type="button" aria-pressed={name === time?.id} onClick={() => setQuery({ time: name })}>
              {title}
            </button>
          ))}
        </fieldset>
        <div class="head-actions">
          <TargetField target={target} />
          <button
            type="button"
            onClick={() => download(`${id}-ledger.csv`, toCsv(id, [...rows].reverse()), "text/csv")}
          >
            <Icon name="download" size={16} /> CSV
          </button>
        </div>
      </div>
      {history.data === undefined ? (
        history.error === undefined ? (
          <Loading />
        ) : (
          <Failure error={history.error} retry={history.reload} />
        )
      ) : history.data.items.length === 0 ? (
        <div class="card">
          <Empty title="Nothing was counted in this time" />
        </div>
      ) : (
        <ScrollCard label="Loss ledger">
          <table class="plain-table ledger" aria-label="Loss ledger">
            <thead>
              <tr>
                <th scope="col">{rowMs === HOUR ? "Hour" : "Day (UTC)"}</th>
                <th scope="col" class="right">
                  In
                </th>
                <th scope="col" class="right">
                  Out
                </th>
                <th scope="col" class="right">
                  Discarded
                </th>
                <th scope="col" class="right">
                  Errors
                </th>
                <th scope="col" class="right" title="Reports whose scrape failed: something was not counted">
                  Failed scrapes
                </th>
                <th scope="col" class="right" title="Minutes in which no node has reported">
                  Missing minutes
                </th>
                <th scope="col" class="right">
                  Kept
                </th>
              </tr>
            </thead>
            <tbody>
              <Row row={sum} title="All" target={target} isSum />
              {rows.map((row) => (
                <Row
                  key={row.at}
                  row={row}
                  title={
                    rowMs === HOUR
                      ? `${day(row.at).slice(5)} ${clockTime(row.at, false)}`
                      : new Date(row.at).toISOString().slice(0, 10)
                  }
                  target={target}
                />
              ))}
            </tbody>
          </table>
        </ScrollCard>
      )}
      <p class="faint note">
        Kept is the share of the events received that no component has discarded. A report that comes late is counted in
        the minute to which it belongs, so an outage of the network changes no row once the node is back.
      </p>
    </>
  );
}

function Row({ row, title, target, isSum }: { row: LedgerRow; title: string; target: number; isSum?: boolean }) {
  return (
    <tr class={isSum === true ? "sum" : undefined}>
      <th scope="row" title={isSum === true ? undefined : exact(row.at)}>
        {title}
      </th>
      <td class="right">{count(row.in)}</td>
      <td class="right">{count(row.out)}</td>
      <td class={row.discarded > 0 ? "right tone-warn" : "right faint"}>{count(row.discarded)}</td>
      <td class={row.errors > 0 ? "right tone-bad" : "right faint"}>{count(row.errors)}</td>
      <td class={row.gaps > 0 ? "right tone-warn" : "right faint"}>{count(row.gaps)}</td>
      <td class={(row.missingMinutes ?? 0) > 0 ? "right tone-warn" : "right faint"}>
        {row.missingMinutes === undefined ? "–" : count(row.missingMinutes)}
      </td>
      <td class="right">
        <Kept kept={row.kept} target={target} />
      </td>
    </tr>
  );
}

export function Kept({ kept, target }: { kept: number | null; target: number }) {
  if (kept === null) return <span class="faint">–</span>;
  const isMet = kept * 100 >= target;
  return (
    <span class={`kept tone-${isMet ? "ok" : "bad"}`} title={isMet ? "The target is met" : "Below the target"}>
      <Shape tone={isMet ? "ok" : "bad"} size={10} /> {delivered(kept)}
      <span class="visually-hidden">{isMet ? ", target met" : ", below the target"}</span>
    </span>
  );
}

export function TargetField({ target }: { target: number }) {
  return (
    <label class="target">
      Target{" "}
      <input
        type="number"
        min="0"
        max="100"
        step="any"
        value={target}
        onChange={({ currentTarget }) => setQuery({ target: String(currentTarget.valueAsNumber) })}
      />{" "}
      %
    </label>
  );
}
