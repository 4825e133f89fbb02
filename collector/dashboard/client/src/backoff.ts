/** The longest first wait. It doubles with every further failure. */
const FIRST_MS = 2_000;
/** The longest wait, unless the server asks for more. */
export const LONGEST_MS = 30_000;

/**
 * The wait after this many failures in a row: 1 s to 30 s. The upper half of the wait is random, so that clients that
 * lost the same collector do not return all at once.
 */
export function backoffMs(failures: number, random: () => number = Math.random): number {
  const longest = Math.min(LONGEST_MS, FIRST_MS * 2 ** Math.max(0, failures - 1));
  return longest / 2 + (random() * longest) / 2;
}
