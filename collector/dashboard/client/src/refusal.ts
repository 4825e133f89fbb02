/** What an answer says that is not the expected one. */

import type { Problem } from "./generated/queries.ts";
import type { StreamEnd } from "./transport.ts";

/** An answer other than 200. */
export interface Refusal {
  status: number;
  /** For people: the status, and the collector's words if it gave some. */
  reason: string;
  /** The collector's problem (RFC 9457). Undefined when something else answered, such as a proxy. */
  problem: Problem | undefined;
  /** How long the server asks to wait. */
  retryAfterMs: number | undefined;
}

/** Reads a refusal, and the body only when it is a problem. */
export async function readRefusal(response: Response): Promise<Refusal> {
  const { status, headers } = response;
  const retryAfterMs = parseRetryAfter(headers.get("Retry-After"), Date.now());
  const reason = `HTTP ${status}`;
  if (!headers.get("Content-Type")?.startsWith("application/problem+json")) {
    void response.body?.cancel().catch(() => {});
    return { status, reason, problem: undefined, retryAfterMs };
  }
  const body: unknown = await response.json().catch(() => undefined);
  const problem = isProblem(body) ? body : undefined;
  return { status, reason: problem === undefined ? reason : `${reason}: ${problem.detail}`, problem, retryAfterMs };
}

/** The same as the end of a stream. */
export async function readStreamRefusal(response: Response): Promise<StreamEnd> {
  const { status, reason, retryAfterMs } = await readRefusal(response);
  return { kind: "refused", status, reason, retryAfterMs };
}

function isProblem(body: unknown): body is Problem {
  return typeof body === "object" && body !== null && "detail" in body && typeof body.detail === "string";
}

/** Reads Retry-After, in seconds or as a date, as milliseconds from now. */
export function parseRetryAfter(value: string | null, nowMs: number): number | undefined {
  if (value === null) return undefined;
  if (/^[0-9]+$/.test(value.trim())) return Number(value) * 1_000;
  const at = Date.parse(value);
  return Number.isNaN(at) ? undefined : Math.max(0, at - nowMs);
}
