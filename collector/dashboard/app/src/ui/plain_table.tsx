/** A table of few rows, which are all in the page. */

import type { ComponentChildren } from "preact";

export interface Head {
  title: string;
  align?: "right";
  /** What the column means, for a person who points at it. */
  hint?: string;
  /** Left out on phones. */
  isWideOnly?: boolean;
}

/** The column of buttons. */
export const ACTIONS: Head = { title: "Actions", align: "right" };

export function PlainTable({
  label,
  className = "",
  heads,
  children,
}: {
  label?: string;
  className?: string;
  heads: readonly (string | Head)[];
  children: ComponentChildren;
}) {
  return (
    <table class={`plain-table ${className}`} aria-label={label}>
      <thead>
        <tr>
          {heads.map((head) => {
            const { title, align, hint, isWideOnly } = typeof head === "string" ? ({ title: head } as Head) : head;
            return (
              <th
                key={title}
                scope="col"
                class={[align, isWideOnly === true ? "wide-only" : ""].filter(Boolean).join(" ")}
                title={hint}
              >
                {head === ACTIONS ? <span class="visually-hidden">{title}</span> : title}
              </th>
            );
          })}
        </tr>
      </thead>
      <tbody>{children}</tbody>
    </table>
  );
}
