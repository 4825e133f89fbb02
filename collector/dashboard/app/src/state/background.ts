/**
 * Questions about rows in view, one at a time: a collector runs two queries of a token at once, and the other one is for
 * what a person has just asked. The newest question is next, because its row is in view.
 */

const MAX_WAITING = 100;

interface Job {
  key: string;
  run: () => Promise<void>;
}

let waiting: Job[] = [];
let isRunning = false;

export function enqueue(key: string, run: () => Promise<void>): void {
  waiting = waiting.filter((job) => job.key !== key);
  waiting.push({ key, run });
  if (waiting.length > MAX_WAITING) waiting.shift();
  void work();
}

/** Forgets what waits: its rows are out of view. */
export function clearQueue(): void {
  waiting = [];
}

async function work(): Promise<void> {
  if (isRunning) return;
  isRunning = true;
  for (let job = waiting.pop(); job !== undefined; job = waiting.pop()) await job.run().catch(() => {});
  isRunning = false;
}
