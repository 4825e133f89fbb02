/** What opens below a button. A click beside it and Escape close it. */

import type { ComponentChildren } from "preact";
import { useEffect, useRef } from "preact/hooks";

export function Menu({
  label,
  summary,
  children,
  isCurrent,
  isRight,
  closesOnClick,
}: {
  label?: string;
  summary: ComponentChildren;
  children: ComponentChildren;
  /** Whether what it chooses is in use. */
  isCurrent?: boolean;
  /** Opens to the left of its right border. */
  isRight?: boolean;
  /** Whether a click on one of its parts is all that is done with it. */
  closesOnClick?: boolean;
}) {
  const element = useRef<HTMLDetailsElement>(null);
  useEffect(() => {
    const close = () => {
      if (element.current !== null) element.current.open = false;
    };
    const onPointerDown = ({ target }: PointerEvent) => {
      if (!element.current?.contains(target as Node)) close();
    };
    const onKeyDown = ({ key, target }: KeyboardEvent) => {
      if (key !== "Escape" || element.current?.open !== true) return;
      close();
      if (element.current.contains(target as Node)) element.current.querySelector("summary")?.focus();
    };
    document.addEventListener("pointerdown", onPointerDown);
    document.addEventListener("keydown", onKeyDown);
    return () => {
      document.removeEventListener("pointerdown", onPointerDown);
      document.removeEventListener("keydown", onKeyDown);
    };
  }, []);
  const onClick = (event: MouseEvent) => {
    if (closesOnClick === true && (event.target as HTMLElement).closest("button") !== null && element.current !== null)
      element.current.open = false;
  };
  return (
    <details class="menu" ref={element}>
      <summary class="button" aria-label={label} aria-current={isCurrent === true ? "true" : undefined}>
        {summary}
      </summary>
      {/* biome-ignore lint/a11y/useKeyWithClickEvents lint/a11y/noStaticElementInteractions: the buttons in it have the keys */}
      <div class={isRight === true ? "menu-items right-menu" : "menu-items"} onClick={onClick}>
        {children}
      </div>
    </details>
  );
}
