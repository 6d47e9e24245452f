import { readdirSync } from "node:fs";
import { getPriority, setPriority } from "node:os";

/** Added to the process's own niceness: a third of the weight, for Linux's scheduler. */
const LESS = 5;
const LEAST_PRIORITY = 19;

/**
 * V8 compiles and collects on threads of its own. Where they share a CPU with the one that serves, requests wait for
 * them, for milliseconds at times: so these yield to it. Before the process does anything that needs a thread of libuv's
 * pool: those are started later, and serve. Linux alone lets threads differ (setpriority(2)); elsewhere nothing is done.
 */
export function lowerBackgroundThreads(): void {
  let threads: readonly string[];
  try {
    threads = readdirSync("/proc/self/task");
  } catch {
    // No Linux, or no /proc: every thread stays as it is.
    return;
  }
  const priority = Math.min(LEAST_PRIORITY, getPriority() + LESS);
  for (const thread of threads.map(Number)) {
    if (thread === process.pid) continue;
    try {
      setPriority(thread, priority);
    } catch {
      // It has ended, or may not be asked: it goes on as it was.
    }
  }
}
