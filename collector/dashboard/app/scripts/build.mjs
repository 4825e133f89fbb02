/**
 * Builds the application into `dist`: hashed files under `assets`, the index, and `.gz` and `.br` beside each of them,
 * which the build of the collector embeds. Fails when the JavaScript is larger than its budget.
 */

import { readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { brotliCompressSync, constants, gzipSync } from "node:zlib";
import { build } from "esbuild";

const ROOT = join(import.meta.dirname, "..");
const DIST = join(ROOT, "dist");
/** Bytes of JavaScript after brotli: what the first view loads, and all of it. */
const FIRST_VIEW_BUDGET = 60_000;
const WHOLE_BUDGET = 150_000;

/** The files that an entry loads before it runs, itself included. */
function staticImports(outputs, entry, found = new Set()) {
  if (found.has(entry)) return found;
  found.add(entry);
  for (const { path, kind } of outputs[entry].imports) {
    if (kind === "import-statement") staticImports(outputs, path, found);
  }
  return found;
}

function compress(file) {
  const bytes = readFileSync(file);
  const quality = {
    params: { [constants.BROTLI_PARAM_QUALITY]: 11, [constants.BROTLI_PARAM_SIZE_HINT]: bytes.length },
  };
  writeFileSync(`${file}.br`, brotliCompressSync(bytes, quality));
  writeFileSync(`${file}.gz`, gzipSync(bytes, { level: 9 }));
}

export const OPTIONS = {
  absWorkingDir: ROOT,
  entryPoints: { app: "src/main.tsx", icon: "src/icon.svg" },
  loader: { ".svg": "file" },
  bundle: true,
  splitting: true,
  format: "esm",
  target: ["chrome111", "firefox115", "safari16.4"],
  jsx: "automatic",
  jsxImportSource: "preact",
  alias: { "@systole/client": "../client/src/index.ts" },
  outdir: "dist/assets",
  entryNames: "[name]-[hash]",
  chunkNames: "[name]-[hash]",
  assetNames: "[name]-[hash]",
  metafile: true,
  legalComments: "linked",
};

/** The index with the names of this build. */
export function renderIndex(outputs) {
  const names = Object.keys(outputs);
  const find = (pattern) => {
    const name = names.find((name) => pattern.test(name));
    if (name === undefined) throw new Error(`the build made no ${pattern}`);
    return name.replace("dist/", "");
  };
  const preloads = [...staticImports(outputs, entryOf(outputs))].slice(1).map((name) => name.replace("dist/", ""));
  return readFileSync(join(ROOT, "src/index.html"), "utf8")
    .replace("APP.css", find(/\/app-[^/]+\.css$/))
    .replace("APP.js", find(/\/app-[^/]+\.js$/))
    .replace("ICON.svg", find(/\/icon-[^/]+\.svg$/))
    .replace("<!-- PRELOADS -->", preloads.map((name) => `<link rel="modulepreload" href="${name}">`).join("\n"));
}

function entryOf(outputs) {
  return Object.keys(outputs).find((name) => /\/app-[^/]+\.js$/.test(name));
}

function empty() {
  for (const name of readdirSync(DIST)) {
    // The folder itself stays: cargo watches it.
    if (name !== ".gitignore") rmSync(join(DIST, name), { recursive: true });
  }
}

function main() {
  empty();
  return build({ ...OPTIONS, minify: true }).then(({ metafile: { outputs } }) => {
    const entry = entryOf(outputs);
    writeFileSync(join(DIST, "index.html"), renderIndex(outputs));
    const files = readdirSync(join(DIST, "assets")).map((name) => `dist/assets/${name}`);
    for (const file of files) {
      // The loader of files writes a module for the icon that nothing imports.
      if (/\/icon-[^/]+\.js$/.test(file)) rmSync(join(ROOT, file));
      else compress(join(ROOT, file));
    }
    compress(join(DIST, "index.html"));
    const size = (file) => statSync(join(ROOT, `${file}.br`)).size;
    const scripts = files.filter((file) => file.endsWith(".js") && !/\/icon-/.test(file));
    const sum = (names) => names.reduce((total, name) => total + size(name), 0);
    const first = sum([...staticImports(outputs, entry)]);
    const whole = sum(scripts);
    const styles = sum(files.filter((file) => file.endsWith(".css")));
    process.stdout.write(
      `JavaScript with brotli: ${first} bytes at first view (at most ${FIRST_VIEW_BUDGET}), ${whole} in all (at most ${WHOLE_BUDGET}); styles ${styles}\n`,
    );
    if (first > FIRST_VIEW_BUDGET || whole > WHOLE_BUDGET) throw new Error("the JavaScript is larger than its budget");
  });
}

if (process.argv[1] === import.meta.filename) await main();
