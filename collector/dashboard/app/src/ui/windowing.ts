/** Which rows of a long list are in view, when the whole page scrolls. */

import type { RefObject } from "preact";
import { useLayoutEffect, useState } from "preact/hooks";

/** Rows that are drawn beyond the border, so that a slow scroll shows no white. */
const BEYOND = 8;

export interface Range {
  from: number;
  to: number;
}

export function useWindow(element: RefObject<HTMLElement | null>, count: number, rowHeight: number): Range {
  const [range, setRange] = useState<Range>({ from: 0, to: Math.min(count, 40) });
  useLayoutEffect(() => {
    let frame = 0;
    const measure = () => {
      frame = 0;
      const top = element.current?.getBoundingClientRect().top ?? 0;
      const from = Math.max(0, Math.floor(-top / rowHeight) - BEYOND);
      const to = Math.min(count, Math.ceil((window.innerHeight - top) / rowHeight) + BEYOND);
      setRange((before) => (before.from === from && before.to === to ? before : { from, to: Math.max(from, to) }));
    };
    const later = () => {
      frame ||= requestAnimationFrame(measure);
    };
    measure();
    // What is above the list may grow or shrink.
    const resized = new ResizeObserver(later);
    resized.observe(document.body);
    window.addEventListener("scroll", later, { passive: true });
    window.addEventListener("resize", later);
    return () => {
      cancelAnimationFrame(frame);
      resized.disconnect();
      window.removeEventListener("scroll", later);
      window.removeEventListener("resize", later);
    };
  }, [element, count, rowHeight]);
  return range;
}
