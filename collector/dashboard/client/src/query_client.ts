/** Queries of what the collector stores, with the types of its OpenAPI document. */

import { Addresses } from "./addresses.ts";
import { Credentials } from "./credentials.ts";
import type { Problem, Queries } from "./generated/queries.ts";
import { collectorUrl, collectorUrls, type RequestOptions } from "./options.ts";
import { type Refusal, readRefusal } from "./refusal.ts";
import { CLIENT } from "./version.ts";
import type { NodeId, PipelineId } from "./wire.ts";

/** Answers of a collector that another one of its cluster may give better. */
const UNREADY: ReadonlySet<number> = new Set([502, 503, 504]);

/** The name of a query in the OpenAPI document. */
export type QueryName = keyof Queries;
/** The parameters of a query. */
export type QueryParameters<Name extends QueryName> = Queries[Name]["parameters"];
/** The answer of a query. */
export type QueryAnswer<Name extends QueryName> = Queries[Name]["answer"];

/** Options of one request. */
export interface QueryOptions {
  /** Ends the request: it rejects with the signal's reason. */
  signal?: AbortSignal | undefined;
}

/** The collector refused a query, or something else answered in its place. */
export class QueryError extends Error {
  override readonly name = "QueryError";
  /** The HTTP status. */
  readonly status: number;
  /** The collector's problem (RFC 9457). Undefined when something else answered, such as a proxy. */
  readonly problem: Problem | undefined;
  /** How long the collector asks to wait before the next attempt. */
  readonly retryAfterMs: number | undefined;

  constructor({ status, reason, problem, retryAfterMs }: Refusal) {
    super(reason);
    this.status = status;
    this.problem = problem;
    this.retryAfterMs = retryAfterMs;
  }
}

/**
 * Asks the collector's query API. Each method rejects with a {@link QueryError} when the answer is not the expected one,
 * and with the error of `fetch` when there is none.
 */
export class QueryClient {
  readonly #options: RequestOptions;
  readonly #credentials: Credentials;
  readonly #addresses: Addresses;

  constructor(options: RequestOptions) {
    this.#options = options;
    this.#credentials = new Credentials(options.token);
    // An invalid address is an error now, and not at the first query.
    this.#addresses = new Addresses(collectorUrls(options, "/"));
  }

  /** The environments that the token sees. */
  environments(options?: QueryOptions): Promise<QueryAnswer<"list_environments">> {
    return this.#get("/api/v1/environments", {}, options);
  }

  /** Nodes with their state, host, health, labels and pipelines, by name. */
  nodes(parameters: QueryParameters<"list_nodes"> = {}, options?: QueryOptions): Promise<QueryAnswer<"list_nodes">> {
    return this.#get("/api/v1/nodes", parameters, options);
  }

  /** One node, with its missing reports. */
  node(
    id: NodeId,
    parameters: QueryParameters<"get_node"> = {},
    options?: QueryOptions,
  ): Promise<QueryAnswer<"get_node">> {
    return this.#get(`/api/v1/nodes/${encodeURIComponent(id)}`, parameters, options);
  }

  /** A host over time, by minute, hour or day. */
  nodeMinutes(
    id: NodeId,
    parameters: QueryParameters<"list_node_minutes"> = {},
    options?: QueryOptions,
  ): Promise<QueryAnswer<"list_node_minutes">> {
    return this.#get(`/api/v1/nodes/${encodeURIComponent(id)}/minutes`, parameters, options);
  }

  /** Nodes with their last sample in the form of a table, sorted and filtered. */
  fleetNodes(
    parameters: QueryParameters<"list_fleet_nodes"> = {},
    options?: QueryOptions,
  ): Promise<QueryAnswer<"list_fleet_nodes">> {
    return this.#get("/api/v1/fleet/nodes", parameters, options);
  }

  /** Pipelines over their nodes in the form of a table, sorted and filtered. */
  fleetPipelines(
    parameters: QueryParameters<"list_fleet_pipelines"> = {},
    options?: QueryOptions,
  ): Promise<QueryAnswer<"list_fleet_pipelines">> {
    return this.#get("/api/v1/fleet/pipelines", parameters, options);
  }

  /** Ids, names and states of all nodes, in columns. */
  fleetMap(
    parameters: QueryParameters<"get_fleet_map"> = {},
    options?: QueryOptions,
  ): Promise<QueryAnswer<"get_fleet_map">> {
    return this.#get("/api/v1/fleet/map", parameters, options);
  }

  /** Pipelines with their state on each node, by id. */
  pipelines(
    parameters: QueryParameters<"list_pipelines"> = {},
    options?: QueryOptions,
  ): Promise<QueryAnswer<"list_pipelines">> {
    return this.#get("/api/v1/pipelines", parameters, options);
  }

  /** One pipeline. */
  pipeline(
    id: PipelineId,
    parameters: QueryParameters<"get_pipeline"> = {},
    options?: QueryOptions,
  ): Promise<QueryAnswer<"get_pipeline">> {
    return this.#get(`/api/v1/pipelines/${encodeURIComponent(id)}`, parameters, options);
  }

  /** The counts of a pipeline, by minute, hour or day. */
  pipelineMinutes(
    id: PipelineId,
    parameters: QueryParameters<"list_pipeline_minutes"> = {},
    options?: QueryOptions,
  ): Promise<QueryAnswer<"list_pipeline_minutes">> {
    return this.#get(`/api/v1/pipelines/${encodeURIComponent(id)}/minutes`, parameters, options);
  }

  /** The counts of a pipeline's components, by minute, hour or day. */
  componentMinutes(
    id: PipelineId,
    parameters: QueryParameters<"list_component_minutes"> = {},
    options?: QueryOptions,
  ): Promise<QueryAnswer<"list_component_minutes">> {
    return this.#get(`/api/v1/pipelines/${encodeURIComponent(id)}/components/minutes`, parameters, options);
  }

  /** The rates of a pipeline or component, from its last 720 reports. */
  samples(parameters: QueryParameters<"list_samples">, options?: QueryOptions): Promise<QueryAnswer<"list_samples">> {
    return this.#get("/api/v1/samples", parameters, options);
  }

  /** Log lines, oldest first. */
  logs(parameters: QueryParameters<"list_logs"> = {}, options?: QueryOptions): Promise<QueryAnswer<"list_logs">> {
    return this.#get("/api/v1/logs", parameters, options);
  }

  /** Steps of versions on nodes, oldest first. */
  deployments(
    parameters: QueryParameters<"list_deployments"> = {},
    options?: QueryOptions,
  ): Promise<QueryAnswer<"list_deployments">> {
    return this.#get("/api/v1/deployments", parameters, options);
  }

  /** Changes of the state of nodes and pipelines, oldest first. */
  statusChanges(
    parameters: QueryParameters<"list_status_changes"> = {},
    options?: QueryOptions,
  ): Promise<QueryAnswer<"list_status_changes">> {
    return this.#get("/api/v1/status-changes", parameters, options);
  }

  async #get<T>(path: string, parameters: object, { signal }: QueryOptions = {}): Promise<T> {
    const response = await this.#fetchAnywhere(path, parameters, signal);
    if (response.status !== 200) throw new QueryError(await readRefusal(response));
    // A login page also answers 200, and so does a network that wants a login.
    const type = response.headers.get("Content-Type") ?? "without a type";
    if (!/^application\/json\b/i.test(type)) {
      void response.body?.cancel().catch(() => {});
      const reason = `the answer is ${type}, not JSON`;
      throw new QueryError({ status: 200, reason, problem: undefined, retryAfterMs: undefined });
    }
    return (await response.json()) as T;
  }

  /** Asks one collector after the other, until one answers that can. */
  async #fetchAnywhere(path: string, parameters: object, signal: AbortSignal | undefined): Promise<Response> {
    for (let others = this.#addresses.count - 1; others > 0; others -= 1) {
      const base = this.#addresses.inUse;
      const response = await this.#fetch(base, path, parameters, signal).catch((error: unknown) => {
        signal?.throwIfAborted();
        return error;
      });
      if (response instanceof Response && !UNREADY.has(response.status)) return response;
      if (response instanceof Response) void response.body?.cancel().catch(() => {});
      // Another query may have moved on meanwhile.
      if (this.#addresses.inUse === base) this.#addresses.moveOn(true);
    }
    return this.#fetch(this.#addresses.inUse, path, parameters, signal);
  }

  #fetch(base: URL, path: string, parameters: object, signal: AbortSignal | undefined): Promise<Response> {
    const url = collectorUrl(base, path);
    for (const [name, value] of Object.entries(parameters)) {
      // Each condition of a list holds: `label=site:lab&label=!canary`.
      if (Array.isArray(value)) for (const one of value) url.searchParams.append(name, String(one));
      else if (value !== undefined) url.searchParams.set(name, String(value));
    }
    const { client = CLIENT, fetch = globalThis.fetch } = this.#options;
    const headers = new Headers({ Accept: "application/json", "X-Systole-Client": client });
    return this.#credentials.send(headers, (headers) => {
      signal?.throwIfAborted();
      return fetch(url, { headers, cache: "no-store", ...(signal && { signal }) });
    });
  }
}

/**
 * All items of a list, page after page:
 * `for await (const line of allItems((cursor) => queries.logs({ pipeline, ...cursor }))) …`
 */
export async function* allItems<T>(
  getPage: (cursor: { cursor?: string }) => Promise<{ items: T[]; next: string | null }>,
): AsyncGenerator<T, void, undefined> {
  let next: string | null = null;
  do {
    const page: { items: T[]; next: string | null } = await getPage(next === null ? {} : { cursor: next });
    yield* page.items;
    next = page.next;
  } while (next !== null);
}
