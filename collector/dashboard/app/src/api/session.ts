/** The browser's session: a token goes in once, and the cookie that comes back is out of reach of scripts. */

import { QueryError } from "@systole/client";
import { request } from "./http.ts";

export type Role = "viewer" | "operator" | "admin";

export interface Session {
  role: Role;
  environmentName: string | null;
  expiresAt: number | null;
}

export function openSession(token: string): Promise<void> {
  return request("POST", "api/v1/session", { body: { token } });
}

export function endSession(): Promise<void> {
  return request("DELETE", "api/v1/session");
}

/** The session of this browser; undefined when there is none. */
export async function readSession(): Promise<Session | undefined> {
  try {
    return await request<Session>("GET", "api/v1/session");
  } catch (error) {
    if (error instanceof QueryError && error.status === 401) return undefined;
    throw error;
  }
}
