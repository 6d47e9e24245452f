import type { ChildProcess } from "node:child_process";

const running = new Set<ChildProcess>();
process.once("exit", () => {
  for (const child of running) child.kill("SIGKILL");
});
// Vitest ends its workers with it, which by itself is no exit.
process.once("SIGTERM", () => process.exit());

/** What a test starts, and does not stop where it fails, ends with the tests. */
export function endWithTests<Child extends ChildProcess>(child: Child): Child {
  running.add(child);
  child.once("exit", () => running.delete(child));
  return child;
}
