import { execFileSync } from "node:child_process";

/** Tests that start the gateway as a child process run what `npm run build` makes, so it is made first. */
export default function setup(): void {
  execFileSync(process.execPath, ["build.mjs"], { stdio: "inherit" });
}
