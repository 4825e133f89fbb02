import type { ComponentChildren } from "preact";

/** A card whose content may be wider than it; the keyboard scrolls it. */
export function ScrollCard({ label, children }: { label: string; children: ComponentChildren }) {
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: a region that scrolls must be reachable by keyboard
    <section class="card padded" aria-label={label} tabIndex={0}>
      {children}
    </section>
  );
}
