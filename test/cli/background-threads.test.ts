import { existsSync, readdirSync, readFileSync } from "node:fs";
import { getPriority } from "node:os";
import { expect, it, onTestFinished } from "vitest";
import { startGateway } from "../support/gateway.ts";
import { RIG_KEYRING, rigRoutes } from "../support/rig.ts";

/** The niceness of each thread, the one that serves first: field 19 of proc_pid_stat(5). */
function nicenesses(pid: number): number[] {
  const threads = readdirSync(`/proc/${pid}/task`).sort(
    (a, b) => Number(b === String(pid)) - Number(a === String(pid)),
  );
  return threads.map((thread) => {
    const stat = readFileSync(`/proc/${pid}/task/${thread}/stat`, "utf8");
    return Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[16]);
  });
}

it.skipIf(!existsSync("/proc/self/task"))("V8's threads yield to the one that serves", async () => {
  const gateway = await startGateway({
    keyring: RIG_KEYRING,
    config: { upstreams: [{ name: "recorder", targets: ["http://127.0.0.1:9"] }], routes: rigRoutes() },
  });
  onTestFinished(() => gateway.stop());
  const [serving, ...others] = nicenesses(gateway.pid);
  expect(serving).toBe(getPriority());
  // V8's pool, at least; whoever came later serves.
  const yielding = others.filter((niceness) => niceness === Math.min(19, getPriority() + 5));
  expect(yielding.length).toBeGreaterThanOrEqual(4);
});
