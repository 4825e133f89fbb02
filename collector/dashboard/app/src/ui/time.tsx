import { ago, exact, moment } from "../format/times.ts";
import { now } from "../state/clock.ts";

/** How long ago, counted live. */
export function Ago({ at }: { at: number | null | undefined }) {
  if (at === null || at === undefined || at === 0) return <span class="faint">never</span>;
  return (
    <time dateTime={new Date(at).toISOString()} title={exact(at)}>
      {ago(at, now.value)}
    </time>
  );
}

export function Moment({ at }: { at: number }) {
  return (
    <time dateTime={new Date(at).toISOString()} title={exact(at)}>
      {moment(at)}
    </time>
  );
}
