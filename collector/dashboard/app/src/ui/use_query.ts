/** An answer for a view: asked when its question changes, and again at intervals while the page is visible. */

import { useEffect, useRef, useState } from "preact/hooks";
import { describe, isAbort } from "../api/http.ts";

export interface Answer<T> {
  data: T | undefined;
  error: string | undefined;
  /** The HTTP status of the error. */
  status: number | undefined;
  isLoading: boolean;
  reload: () => void;
}

export function useQuery<T>(
  key: string | undefined,
  ask: (signal: AbortSignal) => Promise<T>,
  everyMs?: number,
): Answer<T> {
  const [answer, setAnswer] = useState<{
    key: string | undefined;
    data: T | undefined;
    error: string | undefined;
    status: number | undefined;
  }>({
    key: undefined,
    data: undefined,
    error: undefined,
    status: undefined,
  });
  const [attempt, setAttempt] = useState(0);
  const latest = useRef(ask);
  latest.current = ask;

  useEffect(() => {
    if (key === undefined) return;
    const stop = new AbortController();
    const run = () => {
      latest.current(stop.signal).then(
        (data) => !stop.signal.aborted && setAnswer({ key, data, error: undefined, status: undefined }),
        (error: unknown) => {
          if (stop.signal.aborted || isAbort(error)) return;
          const status =
            typeof error === "object" && error !== null && "status" in error ? Number(error.status) : undefined;
          // What is shown stays while a refresh fails.
          setAnswer((before) => ({
            key,
            data: before.key === key ? before.data : undefined,
            error: describe(error),
            status,
          }));
        },
      );
    };
    run();
    const timer =
      everyMs === undefined ? undefined : setInterval(() => document.visibilityState === "visible" && run(), everyMs);
    return () => {
      clearInterval(timer);
      stop.abort();
    };
  }, [key, attempt, everyMs]);

  const isCurrent = answer.key === key;
  return {
    data: isCurrent ? answer.data : undefined,
    error: isCurrent ? answer.error : undefined,
    status: isCurrent ? answer.status : undefined,
    isLoading: !isCurrent,
    reload: () => setAttempt((count) => count + 1),
  };
}
