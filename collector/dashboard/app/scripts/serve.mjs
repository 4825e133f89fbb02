/**
 * For development: builds at each change, serves the page, and sends all other requests to a collector.
 * `COLLECTOR=http://127.0.0.1:8080 PORT=5173 npm start`
 */

import { createServer, request } from "node:http";
import { extname, relative } from "node:path";
import { context } from "esbuild";
import { OPTIONS, renderIndex } from "./build.mjs";

const COLLECTOR = new URL(process.env.COLLECTOR ?? "http://127.0.0.1:8080");
const TYPES = { ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".html": "text/html" };

/** The files of the last build, by their path. `dist` is left to `npm run build`. */
let files = new Map();

const builder = await context({
  ...OPTIONS,
  write: false,
  sourcemap: true,
  plugins: [
    {
      name: "index",
      setup: (build) => {
        build.onEnd(({ metafile, outputFiles, errors }) => {
          if (errors.length > 0) return;
          const dist = `${OPTIONS.absWorkingDir}/dist`;
          files = new Map(outputFiles.map(({ path, contents }) => [`/${relative(dist, path)}`, contents]));
          files.set("/", renderIndex(metafile.outputs));
        });
      },
    },
  ],
});
await builder.watch();

createServer((asked, answer) => {
  const path = asked.url.split("?")[0];
  const file = files.get(path);
  if (file !== undefined) {
    const type = TYPES[path === "/" ? ".html" : extname(path)] ?? "text/plain";
    answer.writeHead(200, { "Content-Type": type, "Cache-Control": "no-store" }).end(file);
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
