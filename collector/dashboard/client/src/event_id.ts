/** The id of an event of the feed: `<epoch>-<seq>`. */
export interface EventId {
  /** Changes when the database is wiped or restored; ids of two epochs have no order. */
  readonly epoch: string;
  /** The order of commit. */
  readonly seq: number;
}

const FORM = /^([a-z0-9]{1,32})-([0-9]+)$/;

/** Reads an id; undefined when it is none. */
export function parseEventId(text: string): EventId | undefined {
  const [, epoch, digits] = FORM.exec(text) ?? [];
  if (epoch === undefined || digits === undefined) return undefined;
  const seq = Number(digits);
  return Number.isSafeInteger(seq) ? { epoch, seq } : undefined;
}

/** Writes an id. */
export function formatEventId(id: EventId): string {
  return `${id.epoch}-${id.seq}`;
}
