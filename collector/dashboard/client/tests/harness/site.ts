/** A site: the page, the built library and the collector at one address. */

import { readFile } from "node:fs/promises";
import { createServer, type IncomingMessage, request, type Server, type ServerResponse } from "node:http";
import { join } from "node:path";

const DIST = join(import.meta.dirname, "../../dist");

/** Records what a feed delivers in `window.received`, `window.states` and `window.feed`. */
const PAGE = `<!doctype html><title>feed</title><script type="module">
import { connect } from "/dist/index.js";
window.received = [];
window.states = [];
window.begin = (options) => {
  window.feed = connect({
    url: "/",
    ...options,
    onEvent: (event, { id }) => window.received.push({ event, id }),
    onState: (state) => window.states.push(state),
  });
};
window.lines = () => received.flatMap(({ event }) => event.type === "log_entry" ? event.entries.map(({ line }) => line) : []);
window.isReady = true;
</script>`;

export class Site {
  readonly url: string;
  /** Streams of the feed that were asked for, in order, and whether they are open. */
  readonly streams: { request: IncomingMessage; isOpen: boolean; cut(): void }[] = [];
  readonly #server: Server;
  readonly #collector: string;

  private constructor(server: Server, port: number, collector: string) {
    this.#server = server;
    this.url = `http://127.0.0.1:${port}/`;
    this.#collector = collector;
    server.on("request", (request, response) => void this.#answer(request, response));
  }

  static async start(collector: string): Promise<Site> {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const address = server.address();
    if (address === null || typeof address === "string") throw new Error("a listener on TCP has a port");
    return new Site(server, address.port, collector);
  }

  get openStreams() {
    return this.streams.filter(({ isOpen }) => isOpen);
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  async #answer(incoming: IncomingMessage, response: ServerResponse): Promise<void> {
    const path = new URL(incoming.url ?? "/", this.url).pathname;
    if (path.startsWith("/api/")) this.#pass(incoming, response, path);
    else if (path.startsWith("/dist/")) {
      const text = await readFile(join(DIST, path.slice("/dist/".length))).catch(() => undefined);
      response.writeHead(text === undefined ? 404 : 200, { "Content-Type": "text/javascript" }).end(text);
    } else {
      response.writeHead(200, { "Content-Type": "text/html" }).end(PAGE);
    }
  }

  #pass(incoming: IncomingMessage, response: ServerResponse, path: string): void {
    const { method, headers } = incoming;
    const onward = request(new URL(incoming.url ?? "/", this.#collector), { method, headers }, (answer) => {
      response.writeHead(answer.statusCode ?? 502, answer.headers);
      answer.pipe(response);
    });
    onward.on("error", () => response.destroy());
    incoming.pipe(onward);
    if (path !== "/api/v1/events") {
      response.on("close", () => onward.destroy());
      return;
    }
    const stream = { request: incoming, isOpen: true, cut: () => response.destroy() };
    this.streams.push(stream);
    response.on("close", () => {
      stream.isOpen = false;
      onward.destroy();
    });
  }
}
