/** Requests to the collector that serves this page. Addresses are relative, so a path of a proxy in front is kept. */

import { QueryClient, QueryError } from "@systole/client";

/** Names this program in the collector's log. */
export const CLIENT = "systole-dashboard/0.1.0";

type Parameter = string | number | boolean | undefined | readonly string[];
export type Parameters = Record<string, Parameter>;

/** Called when the collector does not know the session any more. */
let onSessionEnd: () => void = () => {};
export function whenSessionEnds(listener: () => void): void {
  onSessionEnd = listener;
}

/** `fetch`, and a note when the session has ended. */
export const sessionFetch: typeof fetch = async (...request) => {
  const response = await fetch(...request);
  if (response.status === 401) onSessionEnd();
  return response;
};

/** The queries of the client library. */
export const queries = new QueryClient({ url: "./", client: CLIENT, fetch: sessionFetch });

export function address(path: string, parameters: Parameters = {}): URL {
  const url = new URL(path, document.baseURI.replace(/[?#].*$/, ""));
  for (const [name, value] of Object.entries(parameters)) {
    if (value === undefined || value === "") continue;
    if (typeof value === "object") for (const one of value) url.searchParams.append(name, one);
    else url.searchParams.set(name, String(value));
  }
  return url;
}

export interface Asked {
  parameters?: Parameters | undefined;
  body?: unknown;
  signal?: AbortSignal | undefined;
}

/** A request with an answer in JSON. Rejects with a `QueryError` that has the collector's own words. */
export async function request<T>(method: string, path: string, { parameters, body, signal }: Asked = {}): Promise<T> {
  const headers: Record<string, string> = { Accept: "application/json", "X-Systole-Client": CLIENT };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const response = await sessionFetch(address(path, parameters), {
    method,
    headers,
    cache: "no-store",
    ...(body !== undefined && { body: JSON.stringify(body) }),
    ...(signal !== undefined && { signal }),
  });
  if (!response.ok) throw await refusal(response);
  if (response.status === 204) return undefined as T;
  const text = await response.text();
  return (text === "" ? undefined : JSON.parse(text)) as T;
}

export function get<T>(path: string, parameters?: Parameters, signal?: AbortSignal): Promise<T> {
  return request<T>("GET", path, { parameters, signal });
}

async function refusal(response: Response): Promise<QueryError> {
  const text = await response.text().catch(() => "");
  let problem: { detail?: string; title?: string } | undefined;
  try {
    problem = JSON.parse(text) as { detail?: string; title?: string };
  } catch {
    problem = undefined;
  }
  const reason = problem?.detail ?? problem?.title ?? `HTTP ${response.status}`;
  return new QueryError({ status: response.status, reason, problem: undefined, retryAfterMs: undefined });
}

/** What went wrong, for a person. */
export function describe(error: unknown): string {
  if (error instanceof QueryError) return error.message;
  if (error instanceof TypeError) return "the collector does not answer";
  return error instanceof Error ? error.message : String(error);
}

export function isAbort(error: unknown): boolean {
  return error instanceof DOMException && error.name === "AbortError";
}
