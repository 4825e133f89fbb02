/** `npm run pictures` takes the pictures of docs/dashboard.md again. It needs a collector in target/debug with this page. */

import { rmSync } from "node:fs";
import { join } from "node:path";
import { build } from "esbuild";

const ROOT = join(import.meta.dirname, "..");
const outfile = join(ROOT, "node_modules/.pictures/pictures.mjs");

await build({
  absWorkingDir: ROOT,
  entryPoints: ["pictures/pictures.ts"],
  outfile,
  bundle: true,
  packages: "external",
  platform: "node",
  format: "esm",
  target: "node20",
  // Harnesses find programs beside their own files.
  define: { "import.meta.dirname": JSON.stringify(join(ROOT, "../client/tests/harness")) },
});
try {
  await import(outfile);
} finally {
  rmSync(outfile, { force: true });
}
