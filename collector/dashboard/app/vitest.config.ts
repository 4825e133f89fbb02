import { defineConfig } from "vitest/config";

const alias = { "@systole/client": new URL("../client/src/index.ts", import.meta.url).pathname };

export default defineConfig({
  resolve: { alias },
  test: {
    projects: [
      {
        resolve: { alias },
        test: { name: "unit", include: ["tests/unit/**/*.test.ts"], setupFiles: ["tests/harness/page.ts"] },
      },
      {
        resolve: { alias },
        test: {
          name: "browser",
          include: ["tests/browser/**/*.test.ts"],
          testTimeout: 120_000,
          hookTimeout: 120_000,
          // As patient as the waits for what a page shows.
          expect: { poll: { timeout: 30_000 } },
          // A collector and a browser for each file; the machine also builds.
          fileParallelism: false,
        },
      },
    ],
  },
});
