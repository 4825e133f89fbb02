import { rate } from "../format/numbers.ts";

/** A rate that should be zero. */
export function Trouble({ value, tone }: { value: number | null | undefined; tone: "bad" | "warn" }) {
  return <span class={(value ?? 0) > 0 ? `number tone-${tone}` : "number faint"}>{rate(value)}</span>;
}
