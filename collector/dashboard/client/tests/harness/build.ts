/** Browsers and Node import the library as it is published. */

import { execFileSync } from "node:child_process";

export default function build(): void {
  execFileSync("npm", ["run", "--silent", "build"], { cwd: new URL("../..", import.meta.url), stdio: "inherit" });
}
