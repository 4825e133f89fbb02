/** The id of an event of the feed: `<epoch>-<seq>`. */
export interface EventId {
  /** Changes when the database is wiped or restored. Ids of two epochs have no order. */
  readonly epoch: string;
  /** The order of commit. */
  readonly seq: number;
}

const PATTERN = /^([a-z0-9]{1,32})-([0-9]+)$/;

/** Reads an id; returns undefined when the text is not one. */
export function parseEventId(text: string): EventId | undefined {
  const [, epoch, digits] = PATTERN.exec(text) ?? [];
  if (epoch === undefined || digits === undefined) return undefined;
  const seq = Number(digits);
  return Number.isSafeInteger(seq) ? { epoch, seq } : undefined;
}

/** Writes an id. */
export function formatEventId(id: EventId): string {
  return `${id.epoch}-${id.seq}`;
}
