import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/**
 * Tests that start the gateway as a child process run what `npm run build` makes, so it is made first. Everything that
 * tests put into the system's temporary folder goes into one of this run, which is gone after it.
 */
export default function setup(): (() => void) | undefined {
  // Each project of vitest.config.ts has its set-up: one does for all of them.
  if (process.env.SENTINEL_TESTS_FOLDER !== undefined) return undefined;
  execFileSync(process.execPath, ["build.mjs"], { stdio: "inherit" });
  const folder = mkdtempSync(join(tmpdir(), "sentinel-tests-"));
  process.env.SENTINEL_TESTS_FOLDER = folder;
  process.env.TMPDIR = folder;
  // What a process that was just ended still held may be in the way for a moment.
  return () => rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
}
