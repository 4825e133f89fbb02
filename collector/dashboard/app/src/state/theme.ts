/** Light, dark, or what the system says. */

import { effect, signal } from "@preact/signals";

export type Theme = "system" | "light" | "dark";
const KEY = "systole-theme";

function stored(): Theme {
  try {
    const value = localStorage.getItem(KEY);
    return value === "light" || value === "dark" ? value : "system";
  } catch {
    // A browser may refuse storage to a page in a frame.
    return "system";
  }
}

export const theme = signal<Theme>(stored());

const system = matchMedia("(prefers-color-scheme: dark)");
/** Counts changes of the colours, for what is drawn on a canvas. */
export const isDark = signal(theme.value === "dark" || (theme.value === "system" && system.matches));

effect(() => {
  document.documentElement.dataset.theme = theme.value;
  isDark.value = theme.value === "dark" || (theme.value === "system" && system.matches);
});
system.addEventListener("change", () => {
  isDark.value = theme.value === "dark" || (theme.value === "system" && system.matches);
});

export function cycleTheme(): void {
  theme.value = isDark.value ? "light" : "dark";
  try {
    localStorage.setItem(KEY, theme.value);
  } catch {
    // It lasts as long as the page.
  }
}

/** The value of a colour of the style sheet. */
export function colour(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}
