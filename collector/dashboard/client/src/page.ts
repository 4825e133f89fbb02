/** Events of a page and its network that concern a feed. In Node none of them happens. */

export interface PageHooks {
  /** The page is visible again, or the network is back. */
  wake(): void;
  /** The page is suspended, perhaps for good. */
  suspend(): void;
  /** The suspended page is back. */
  resume(): void;
}

/** Adds the listeners and returns a function that removes them. */
export function watchPage(hooks: PageHooks): () => void {
  const abort = new AbortController();
  const { signal } = abort;
  const target = globalThis as Partial<Pick<EventTarget, "addEventListener">>;
  target.addEventListener?.("online", () => hooks.wake(), { signal });
  // The page is left, or kept in memory (back/forward cache). It must not hold the connection of all tabs either way.
  target.addEventListener?.("pagehide", () => hooks.suspend(), { signal });
  target.addEventListener?.("pageshow", () => hooks.resume(), { signal });
  if (typeof document !== "undefined") {
    document.addEventListener("freeze", () => hooks.suspend(), { signal });
    document.addEventListener("resume", () => hooks.resume(), { signal });
    document.addEventListener(
      "visibilitychange",
      () => {
        if (document.visibilityState === "visible") hooks.wake();
      },
      { signal },
    );
  }
  return () => abort.abort();
}
