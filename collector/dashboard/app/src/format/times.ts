/** Local times, with UTC beside them where a person points at. */

const pad = (value: number, width = 2) => String(value).padStart(width, "0");

export function clockTime(at: number, withSeconds = true): string {
  const date = new Date(at);
  const time = `${pad(date.getHours())}:${pad(date.getMinutes())}`;
  return withSeconds ? `${time}:${pad(date.getSeconds())}` : time;
}

export function preciseTime(at: number): string {
  return `${clockTime(at)}.${pad(new Date(at).getMilliseconds(), 3)}`;
}

export function day(at: number): string {
  const date = new Date(at);
  return `${date.getFullYear()}-${pad(date.getMonth() + 1)}-${pad(date.getDate())}`;
}

/** Date and time, without the date when it is today. */
export function moment(at: number, now = Date.now()): string {
  return day(at) === day(now) ? clockTime(at) : `${day(at)} ${clockTime(at)}`;
}

/** For titles: local with its zone, and UTC. */
export function exact(at: number): string {
  const zone = -new Date(at).getTimezoneOffset();
  const sign = zone < 0 ? "−" : "+";
  const local = `${day(at)} ${clockTime(at)} UTC${zone === 0 ? "" : `${sign}${pad(Math.floor(Math.abs(zone) / 60))}:${pad(Math.abs(zone) % 60)}`}`;
  return zone === 0 ? local : `${local}\n${new Date(at).toISOString().slice(0, 19).replace("T", " ")} UTC`;
}

/** A length of time in its two largest units: 3 h 12 min. */
export function duration(ms: number): string {
  const seconds = Math.max(0, Math.round(ms / 1000));
  if (seconds < 60) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return minutes < 10 && seconds % 60 > 0 ? `${minutes} min ${seconds % 60} s` : `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 24) return minutes % 60 === 0 ? `${hours} h` : `${hours} h ${minutes % 60} min`;
  const days = Math.floor(hours / 24);
  return hours % 24 === 0 || days > 9 ? `${days} d` : `${days} d ${hours % 24} h`;
}

export function ago(at: number, now: number): string {
  const passed = now - at;
  return passed < 2_000 ? "now" : `${duration(passed)} ago`;
}
