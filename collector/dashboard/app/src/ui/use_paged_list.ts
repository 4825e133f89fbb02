import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { onReread } from "../state/fleet.ts";
import { PagedList, type ReadPage } from "./paged_list.ts";

/** A sorted list of the collector; it is read again at intervals while the page is visible. */
export function usePagedList<T>(
  key: string,
  keyOf: (item: T) => string,
  read: ReadPage<T>,
  everyMs: number,
): { list: PagedList<T>; setVisible: (rows: readonly T[]) => void; refresh: () => void } {
  const [, setVersion] = useState(0);
  const inView = useRef<ReadonlySet<string>>(new Set());
  const last = useRef<PagedList<T> | undefined>(undefined);
  const list = useMemo(() => new PagedList<T>(keyOf, read, () => setVersion((version) => version + 1)), [key]);
  const refresh = () => void list.refresh(inView.current);
  useEffect(() => {
    const unlisten = onReread(refresh);
    const timer = setInterval(() => document.visibilityState === "visible" && refresh(), everyMs);
    return () => {
      unlisten();
      clearInterval(timer);
      list.close();
    };
  }, [list]);
  // What was found with other words is shown until the new answer is there.
  const shown = list.isKnown || list.error !== undefined ? list : (last.current ?? list);
  if (list.isKnown) last.current = list;
  return {
    list: shown,
    setVisible: (rows) => {
      inView.current = new Set(rows.map(keyOf));
      const end = list.rows.at(-1);
      if (end !== undefined && list.hasMore && inView.current.has(keyOf(end))) void list.more();
    },
    refresh,
  };
}
