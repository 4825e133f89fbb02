/**
 * A list that the collector sorts and filters. Its first page is read at once, and each further one when a person comes near
 * its end. Pages in view are read again at intervals, each from its own cursor.
 */

import { Reading } from "./reading.ts";

export interface ListPage<T> {
  items: T[];
  next: string | null;
  total: number;
}

export type ReadPage<T> = (cursor: string | undefined, signal: AbortSignal) => Promise<ListPage<T>>;

interface Page<T> {
  cursor: string | undefined;
  items: readonly T[];
}

export class PagedList<T> {
  /** The same array until something changes. */
  rows: readonly T[] = [];
  total = 0;
  /** Whether the first page was read. */
  isKnown = false;
  readonly #keyOf: (item: T) => string;
  readonly #read: ReadPage<T>;
  readonly #onChange: () => void;
  readonly #reading = new Reading();
  #pages: Page<T>[] = [];
  #next: string | null | undefined;
  #isWanted = false;

  constructor(keyOf: (item: T) => string, read: ReadPage<T>, onChange: () => void) {
    this.#keyOf = keyOf;
    this.#read = read;
    this.#onChange = onChange;
    void this.more();
  }

  close(): void {
    this.#reading.close();
  }

  /** Why the last reading failed. */
  get error(): string | undefined {
    return this.#reading.error;
  }

  get hasMore(): boolean {
    return typeof this.#next === "string";
  }

  /** Reads the page after the last one. */
  async more(): Promise<void> {
    if (this.#reading.isRunning || this.#next === null) return;
    await this.#run(async () => {
      const cursor = this.#next ?? undefined;
      await this.#take(this.#pages.length, cursor);
    });
  }

  /** Reads the pages again that have these items, and the first one. */
  async refresh(inView: ReadonlySet<string>): Promise<void> {
    if (this.#reading.isRunning) {
      this.#isWanted = true;
      return;
    }
    await this.#run(async () => {
      const isInView = ({ items }: Page<T>) => items.some((item) => inView.has(this.#keyOf(item)));
      const due = this.#pages.flatMap((page, index) => (index === 0 || isInView(page) ? [index] : []));
      for (const index of due.length === 0 ? [0] : due) await this.#take(index, this.#pages[index]?.cursor);
    });
    if (this.#isWanted) {
      this.#isWanted = false;
      await this.refresh(inView);
    }
  }

  /** Changes items in place of a new reading; returns whether there was one to change. */
  patch(change: (item: T) => T): boolean {
    let isChanged = false;
    for (const page of this.#pages) {
      const items = page.items.map(change);
      if (items.every((item, index) => item === page.items[index])) continue;
      page.items = items;
      isChanged = true;
    }
    if (isChanged) this.#publish();
    return isChanged;
  }

  #run(work: () => Promise<void>): Promise<void> {
    return this.#reading.run(work, () => this.#publish());
  }

  async #take(index: number, cursor: string | undefined): Promise<void> {
    const { items, next, total } = await this.#read(cursor, this.#reading.signal);
    this.#pages[index] = { cursor, items };
    this.total = total;
    this.isKnown = true;
    const after = this.#pages[index + 1];
    if (after === undefined || next === null) {
      this.#pages.length = index + 1;
      this.#next = next;
    } else {
      after.cursor = next;
    }
  }

  #publish(): void {
    // What has moved to another page meanwhile is listed where it was read last.
    const seen = new Set<string>();
    const rows: T[] = [];
    for (const { items } of this.#pages) {
      for (const item of items) {
        const key = this.#keyOf(item);
        if (seen.has(key)) continue;
        seen.add(key);
        rows.push(item);
      }
    }
    this.rows = rows;
    this.#onChange();
  }
}
