/** The session of this page: who looks, and what the page offers. The collector checks every request itself. */

import { computed, signal } from "@preact/signals";
import { describe, whenSessionEnds } from "../api/http.ts";
import { endSession, openSession, readSession, type Session } from "../api/session.ts";
import { isKiosk } from "./route.ts";

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

/** Says that this browser probably has a session, so that a visitor without one causes no refused request. */
const HINT = "systole-session";

function mayHaveSession(): boolean {
  try {
    return localStorage.getItem(HINT) !== null;
  } catch {
    // A browser may refuse storage to a page in a frame.
    return true;
  }
}

function remember(isOpen: boolean): void {
  try {
    if (isOpen) localStorage.setItem(HINT, "1");
    else localStorage.removeItem(HINT);
  } catch {
    // Then each visit asks.
  }
}

/** A wall display has no person to sign in again after 12 hours: its tab keeps the viewer's token. */
const KIOSK_TOKEN = "systole-kiosk";

whenSessionEnds(() => {
  remember(false);
  const kept = isKiosk ? sessionStorage.getItem(KIOSK_TOKEN) : null;
  if (kept !== null && sessionState.value.is === "in") {
    sessionState.value = { is: "opening" };
    void signIn(kept);
    return;
  }
  if (sessionState.value.is === "in") sessionState.value = { is: "out", reason: "The session has ended." };
});

const TOKEN_LINK = /^#token=([^&]+)(?:&to=(.*))?$/;

/** What this page has shown before belongs to another session. */
let wasSignedIn = false;

/** The token of a link such as the demo prints: `/#token=…`. It is removed from the address bar before anything else. */
function takeToken(): string | undefined {
  const found = TOKEN_LINK.exec(location.hash);
  if (found === null) return undefined;
  const target = found[2] === undefined ? "#/" : `#${decodeURIComponent(found[2])}`;
  history.replaceState(null, "", `${location.pathname}${location.search}${target}`);
  window.dispatchEvent(new HashChangeEvent("hashchange"));
  return decodeURIComponent(found[1] ?? "");
}

/** A link with a token may be opened in a page that is there already. */
window.addEventListener("hashchange", () => {
  if (TOKEN_LINK.test(location.hash)) void begin();
});

export async function begin(): Promise<void> {
  const token = takeToken();
  if (token !== undefined) return signIn(token);
  if (mayHaveSession()) await refresh();
  else sessionState.value = { is: "out" };
}

async function refresh(): Promise<void> {
  try {
    const session = await readSession();
    remember(session !== undefined);
    wasSignedIn ||= session !== undefined;
    sessionState.value = session === undefined ? { is: "out" } : { is: "in", session };
  } catch (error) {
    sessionState.value = { is: "failed", reason: describe(error) };
    setTimeout(() => void refresh(), 3_000);
  }
}

export async function signIn(token: string): Promise<void> {
  try {
    await openSession(token.trim());
    if (isKiosk) sessionStorage.setItem(KIOSK_TOKEN, token.trim());
    if (wasSignedIn) return location.reload();
    await refresh();
  } catch (error) {
    sessionState.value = { is: "out", reason: describe(error) };
  }
}

export async function signOut(): Promise<void> {
  // The views go first: their streams would be refused and try again.
  sessionState.value = { is: "out" };
  remember(false);
  await new Promise((resolve) => setTimeout(resolve));
  await endSession().catch(() => {});
}
