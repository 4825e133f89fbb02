/** Numbers with their units, short and of even width. */

const NONE = "–";

/** Three significant digits with a unit of thousands: 1.23 k, 45.6 M. */
export function short(value: number | null | undefined): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return NONE;
  const size = Math.abs(value);
  if (size === 0) return "0";
  if (size < 10) return trim(value.toFixed(2));
  if (size < 100) return trim(value.toFixed(1));
  if (size < 999.5) return value.toFixed(0);
  for (const [unit, name] of [
    [1e12, "T"],
    [1e9, "G"],
    [1e6, "M"],
    [1e3, "k"],
  ] as const) {
    if (size >= unit * 0.9995) {
      const scaled = value / unit;
      return `${Math.abs(scaled) < 99.95 ? trim(scaled.toFixed(Math.abs(scaled) < 9.995 ? 2 : 1)) : scaled.toFixed(0)} ${name}`;
    }
  }
  return value.toFixed(0);
}

function trim(text: string): string {
  return text.includes(".") ? text.replace(/\.?0+$/, "") : text;
}

/** A rate in events or anything else a second. */
export function rate(value: number | null | undefined, unit = ""): string {
  const text = short(value);
  return text === NONE ? NONE : `${text}${unit === "" || /[kMGT]$/.test(text) ? "" : " "}${unit}/s`;
}

export function bytes(value: number | null | undefined): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return NONE;
  let scaled = value;
  for (const unit of ["B", "KiB", "MiB", "GiB", "TiB"]) {
    if (Math.abs(scaled) < 1000 || unit === "TiB") {
      return `${Math.abs(scaled) < 10 && unit !== "B" ? trim(scaled.toFixed(1)) : scaled.toFixed(0)} ${unit}`;
    }
    scaled /= 1024;
  }
  return NONE;
}

export const byteRate = (value: number | null | undefined) => {
  const text = bytes(value);
  return text === NONE ? NONE : `${text}/s`;
};

export function percent(share: number | null | undefined, digits = 0): string {
  if (share === null || share === undefined || !Number.isFinite(share)) return NONE;
  return `${(share * 100).toFixed(digits)} %`;
}

/** A share near 1, with as many digits as show what is missing to 1: never rounded up to 100 %. */
export function delivered(share: number | null): string {
  if (share === null) return NONE;
  if (share >= 1) return "100 %";
  let digits = 1;
  while (digits < 8 && 1 - share < 10 ** -(digits + 2) * 0.999) digits += 1;
  const unit = 10 ** digits;
  return `${(Math.floor(share * 100 * unit + 1e-6) / unit).toFixed(digits)} %`;
}

export function milliseconds(value: number | null | undefined): string {
  if (value === null || value === undefined) return NONE;
  return value < 1000 ? `${short(value)} ms` : `${short(value / 1000)} s`;
}

/** Whole counts with narrow spaces between thousands, which do not break a line. */
export function count(value: number | null | undefined): string {
  if (value === null || value === undefined) return NONE;
  return Math.round(value)
    .toString()
    .replace(/\B(?=(\d{3})+$)/g, "\u202f");
}

export function plural(many: number, one: string, more = `${one}s`): string {
  return `${count(many)} ${many === 1 ? one : more}`;
}
