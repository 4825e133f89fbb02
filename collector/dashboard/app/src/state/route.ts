/** The address of what is shown, in the fragment: `#/nodes/0189…?range=6h`. A copied address shows the same. */

import { signal } from "@preact/signals";

export interface Route {
  /** The segments of the path, decoded. */
  path: readonly string[];
  query: URLSearchParams;
}

export type Query = Record<string, string | undefined>;

export function parseRoute(hash: string): Route {
  const [path = "", query = ""] = hash.replace(/^#?\/?/, "").split("?", 2);
  return { path: path.split("/").filter(Boolean).map(decode), query: new URLSearchParams(query) };
}

function decode(segment: string): string {
  try {
    return decodeURIComponent(segment);
  } catch {
    return segment;
  }
}

export function link(path: readonly string[], query: Query = {}): string {
  const parameters = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    if (value !== undefined && value !== "") parameters.set(name, value);
  }
  const text = parameters.toString();
  return `#/${path.map(encodeURIComponent).join("/")}${text === "" ? "" : `?${text}`}`;
}

export const route = signal<Route>(parseRoute(location.hash));

/** A wall display: no menus. A part of the page's own address, so that it stays while views change. */
export const isKiosk = new URLSearchParams(location.search).get("kiosk") === "1";

window.addEventListener("hashchange", () => {
  const before = route.value.path.join("/");
  route.value = parseRoute(location.hash);
  if (route.value.path.join("/") !== before) window.scrollTo(0, 0);
});

export function navigate(path: readonly string[], query: Query = {}): void {
  location.hash = link(path, query);
}

/** Changes parameters of the current view. The history keeps one entry for the view. */
export function setQuery(change: Query): void {
  const merged: Query = { ...Object.fromEntries(route.value.query), ...change };
  history.replaceState(null, "", link(route.value.path, merged));
  route.value = parseRoute(location.hash);
}

export const nodeLink = (id: string, query?: Query) => link(["nodes", id], query);
export const pipelineLink = (id: string, query?: Query) => link(["pipelines", id], query);
