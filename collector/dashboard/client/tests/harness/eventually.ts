/** Longest wait for anything, on a machine that builds and tests at once. */
const PATIENCE_MS = 30_000;
const LOOK_EVERY_MS = 20;

/** Waits until something holds; an error that `holds` throws ends the wait. */
export async function eventually(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = Date.now() + PATIENCE_MS;
  while (!(await holds())) {
    if (Date.now() > deadline) throw new Error(`did not happen within ${PATIENCE_MS / 1_000} s: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS));
  }
}
