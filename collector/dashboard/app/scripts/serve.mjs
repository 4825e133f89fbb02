/**
 * For development: builds at each change, serves `dist`, and sends all other requests to a collector.
 * `COLLECTOR=http://127.0.0.1:8080 PORT=5173 npm start`
 */

import { readFileSync } from "node:fs";
import { createServer, request } from "node:http";
import { extname, join } from "node:path";
import { context } from "esbuild";
import { empty, OPTIONS, writeIndex } from "./build.mjs";

const COLLECTOR = new URL(process.env.COLLECTOR ?? "http://127.0.0.1:8080");
const DIST = join(import.meta.dirname, "../dist");
const TYPES = { ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".html": "text/html" };

empty();
const builder = await context({
  ...OPTIONS,
  sourcemap: true,
  plugins: [
    {
      name: "index",
      setup: (build) => {
        build.onEnd(({ metafile, errors }) => {
          if (errors.length === 0) writeIndex(metafile.outputs);
        });
      },
    },
  ],
});
await builder.watch();

createServer((asked, answer) => {
  const path = asked.url.split("?")[0];
  if (path === "/" || path.startsWith("/assets/")) {
    const file = join(DIST, path === "/" ? "index.html" : path);
    try {
      answer.writeHead(200, { "Content-Type": TYPES[extname(file)] ?? "text/plain", "Cache-Control": "no-store" });
      answer.end(readFileSync(file));
    } catch {
      answer.end();
    }
    return;
  }
  const options = { method: asked.method, headers: asked.headers, path: asked.url };
  const forwarded = request(COLLECTOR, options, (reply) => {
    answer.writeHead(reply.statusCode, reply.headers);
    reply.pipe(answer);
  });
  forwarded.on("error", () => answer.writeHead(502).end());
  answer.on("close", () => forwarded.destroy());
  asked.pipe(forwarded);
}).listen(Number(process.env.PORT ?? 5173), "127.0.0.1");
