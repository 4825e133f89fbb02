import { clockTime, day } from "../format/times.ts";
import { route, setQuery } from "../state/route.ts";
import { Menu } from "../ui/menu.tsx";
import { freeRange, namedRange, RANGES, type TimeRange } from "./range.ts";

export function RangePicker({ range }: { range: TimeRange }) {
  const isFree = range.name === undefined;
  const toInput = (at: number) => `${day(at)}T${clockTime(at, false)}`;
  const change = (side: "from" | "to", text: string) => {
    const at = new Date(text).getTime();
    if (!Number.isFinite(at)) return;
    const next = { from: range.from, to: range.to, [side]: at };
    if (next.to > next.from) setQuery(freeRange(next.from, next.to));
  };
  void route.value;
  return (
    <fieldset class="segmented" aria-label="Time">
      {RANGES.map(([name, title]) => (
        <button key={name} type="button" aria-pressed={range.name === name} onClick={() => setQuery(namedRange(name))}>
          {title}
        </button>
      ))}
      <Menu
        summary={
          isFree ? `${day(range.from)} ${clockTime(range.from, false)} – ${clockTime(range.to, false)}` : "Other"
        }
        isCurrent={isFree}
        isRight
      >
        <label class="stacked">
          From
          <input
            type="datetime-local"
            value={toInput(range.from)}
            onChange={({ currentTarget }) => change("from", currentTarget.value)}
          />
        </label>
        <label class="stacked">
          To
          <input
            type="datetime-local"
            value={toInput(range.to)}
            onChange={({ currentTarget }) => change("to", currentTarget.value)}
          />
        </label>
        <p class="faint">Or drag over a chart.</p>
      </Menu>
    </fieldset>
  );
}
