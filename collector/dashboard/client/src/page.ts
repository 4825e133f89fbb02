/** What happens to a page and its network, as far as a feed cares. In Node nothing of it does. */

export interface PageHooks {
  /** Somebody looks again, or the network is back. */
  wake(): void;
  /** The page is put aside, perhaps for good. */
  suspend(): void;
  /** It was only put aside. */
  resume(): void;
}

/** Listens; what it returns stops that. */
export function watchPage(hooks: PageHooks): () => void {
  const abort = new AbortController();
  const { signal } = abort;
  const target = globalThis as Partial<Pick<EventTarget, "addEventListener">>;
  target.addEventListener?.("online", () => hooks.wake(), { signal });
  // Kept in memory (back/forward cache) or left: either way it must not hold the tabs' connection.
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
