/** A small line without axes; its text value stands beside it. */

export interface SparklineProps {
  values: readonly (number | null)[];
  width?: number;
  height?: number;
  tone?: string;
  /** The top of the scale; else the highest value. */
  max?: number;
  /** Places from the left, when there are fewer values than these. */
  places?: number;
}

export function Sparkline({ values, width = 84, height = 22, tone = "accent", max, places }: SparklineProps) {
  const top = Math.max(max ?? 0, ...values.map((value) => value ?? 0), 1e-9);
  const count = Math.max(places ?? values.length, 2);
  const offset = count - values.length;
  const x = (index: number) => ((index + offset) / (count - 1)) * (width - 2) + 1;
  const y = (value: number) => height - 1.5 - (value / top) * (height - 4);
  let line = "";
  let area = "";
  let begin = -1;
  values.forEach((value, index) => {
    if (value === null) {
      begin = -1;
      return;
    }
    line += `${begin < 0 ? "M" : "L"}${x(index).toFixed(1)} ${y(value).toFixed(1)}`;
    if (begin < 0) begin = index;
    if (index === values.length - 1 || values[index + 1] === null) {
      area += `M${x(begin).toFixed(1)} ${height}`;
      for (let at = begin; at <= index; at += 1) area += `L${x(at).toFixed(1)} ${y(values[at] ?? 0).toFixed(1)}`;
      area += `L${x(index).toFixed(1)} ${height}Z`;
    }
  });
  return (
    <svg
      class="sparkline"
      width={width}
      height={height}
      viewBox={`0 0 ${width} ${height}`}
      preserveAspectRatio="none"
      aria-hidden="true"
      style={{ color: `var(--${tone})` }}
    >
      <path d={area} fill="currentColor" opacity="0.13" />
      <path
        d={line}
        fill="none"
        stroke="currentColor"
        stroke-width="1.4"
        stroke-linejoin="round"
        stroke-linecap="round"
        vector-effect="non-scaling-stroke"
      />
    </svg>
  );
}
