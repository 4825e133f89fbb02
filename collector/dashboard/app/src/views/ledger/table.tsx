import { useMemo } from "preact/hooks";
import { queries } from "../../api/http.ts";
import { count, delivered } from "../../format/numbers.ts";
import { clockTime, day, exact } from "../../format/times.ts";
import { now } from "../../state/clock.ts";
import { route, setQuery } from "../../state/route.ts";
import { environment } from "../../state/session.ts";
import { download } from "../../ui/copy.tsx";
import { Answered, Empty } from "../../ui/empty.tsx";
import { Icon } from "../../ui/icons.tsx";
import { type Head, PlainTable } from "../../ui/plain_table.tsx";
import { ScrollCard } from "../../ui/scroll_card.tsx";
import { Shape } from "../../ui/status.tsx";
import { useQuery } from "../../ui/use_query.ts";
import { expectedOf, isSilent, type LedgerRow, sumRows, toCsv, toLedger } from "./model.ts";

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
      <Answered answer={history}>
        {({ items }) =>
          items.length === 0 ? (
            <div class="card">
              <Empty title="Nothing was counted in this time" />
            </div>
          ) : (
            <ScrollCard label="Loss ledger">
              <PlainTable
                className="ledger"
                label="Loss ledger"
                heads={[rowMs === HOUR ? "Hour" : "Day (UTC)", ...COLUMNS.map(({ head }) => head), KEPT]}
              >
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
              </PlainTable>
            </ScrollCard>
          )
        }
      </Answered>
      <p class="faint note">
        Kept is the share of the events received that no component has discarded. A report that comes late is counted in
        the minute to which it belongs, so an outage of the network changes no row once the node is back.
      </p>
    </>
  );
}

const right = (title: string, hint?: string): Head => ({ title, align: "right", ...(hint !== undefined && { hint }) });

const KEPT = right("Kept", "The share of the events received that no component has discarded");

/** What each row counts, and how it looks when it is not zero. */
const COLUMNS: readonly { head: Head; value: (row: LedgerRow) => number | undefined; tone: string }[] = [
  { head: right("In"), value: (row) => row.in, tone: "" },
  { head: right("Out"), value: (row) => row.out, tone: "" },
  { head: right("Discarded"), value: (row) => row.discarded, tone: "tone-warn" },
  { head: right("Errors"), value: (row) => row.errors, tone: "tone-bad" },
  {
    head: right("Failed scrapes", "Reports whose scrape failed: something was not counted"),
    value: (row) => row.gaps,
    tone: "tone-warn",
  },
  { head: right("Expected", "Reports that the agents made, as far as it is known"), value: expectedOf, tone: "" },
  {
    head: right("Missing", "Reports that the agents made and that never came"),
    value: (row) => row.missing,
    tone: "tone-bad",
  },
  {
    head: right("Late", "Reports that came more than a minute late: they are counted"),
    value: (row) => row.late,
    tone: "",
  },
  {
    head: right("Silent min", "Minutes in which no node has reported"),
    value: (row) => row.missingMinutes,
    tone: "tone-warn",
  },
];

function Row({ row, title, target, isSum }: { row: LedgerRow; title: string; target: number; isSum?: boolean }) {
  const areNone = isSilent(row);
  return (
    <tr class={isSum === true ? "sum" : undefined}>
      <th scope="row" title={isSum === true ? undefined : exact(row.at)}>
        {title}
      </th>
      {COLUMNS.map(({ head, value, tone }) => {
        const counted = value(row);
        // What was not reported is not zero.
        const isKnown = counted !== undefined && (!areNone || counted > 0);
        return (
          <td key={head.title} class={isKnown && counted > 0 ? `right ${tone}` : "right faint"}>
            {isKnown ? count(counted) : "–"}
          </td>
        );
      })}
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
