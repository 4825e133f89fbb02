/** The session of this page: who looks, and what the page offers. The collector checks every request itself. */

import { computed, signal } from "@preact/signals";
import { describe, whenSessionEnds } from "../api/http.ts";
import { endSession, openSession, readSession, type Session } from "../api/session.ts";

export type SessionState =
  | { is: "opening" }
  | { is: "out"; reason?: string }
  | { is: "in"; session: Session }
  /** The collector did not answer; the page tries again. */
  | { is: "failed"; reason: string };

export const sessionState = signal<SessionState>({ is: "opening" });

const role = computed(() => (sessionState.value.is === "in" ? sessionState.value.session.role : "viewer"));
export const canOperate = computed(() => role.value !== "viewer");
export const canAdminister = computed(() => role.value === "admin");

/** The one environment that is shown; undefined for all of them. */
export const environment = signal<string | undefined>(undefined);

whenSessionEnds(() => {
  if (sessionState.value.is === "in") sessionState.value = { is: "out", reason: "The session has ended." };
});

/** The token of a link such as the demo prints: `/#token=…`. It is removed from the address bar before anything else. */
function takeToken(): string | undefined {
  const found = /^#token=([^&]+)(?:&to=(.*))?$/.exec(location.hash);
  if (found === null) return undefined;
  const target = found[2] === undefined ? "#/" : `#${decodeURIComponent(found[2])}`;
  history.replaceState(null, "", `${location.pathname}${location.search}${target}`);
  window.dispatchEvent(new HashChangeEvent("hashchange"));
  return decodeURIComponent(found[1] ?? "");
}

export async function begin(): Promise<void> {
  const token = takeToken();
  if (token !== undefined) return signIn(token);
  await refresh();
}

async function refresh(): Promise<void> {
  try {
    const session = await readSession();
    sessionState.value = session === undefined ? { is: "out" } : { is: "in", session };
  } catch (error) {
    sessionState.value = { is: "failed", reason: describe(error) };
    setTimeout(() => void refresh(), 3_000);
  }
}

export async function signIn(token: string): Promise<void> {
  try {
    await openSession(token.trim());
    await refresh();
  } catch (error) {
    sessionState.value = { is: "out", reason: describe(error) };
  }
}

export async function signOut(): Promise<void> {
  await endSession().catch(() => {});
  sessionState.value = { is: "out" };
}
