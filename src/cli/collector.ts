import { availableParallelism } from "node:os";
import { setFlagsFromString } from "node:v8";

/** V8's own is eight seconds. */
const REST_MS = 300_000;

/**
 * How V8 collects garbage in a process that serves: what can still be said once it runs. Before anything else: a tenth of a
 * second later, behind the first collections, the first setting was without effect.
 */
export function setUpCollector(): void {
  // After a rest V8 collects everything to give memory back, and what it compiled goes too. A pause in the traffic is no
  // rest: the first requests behind it would wait while dozens of functions are compiled anew.
  setFlagsFromString(`--gc-memory-reducer-start-delay-ms=${REST_MS}`);
  // To share with another thread what is little work is to wait for it, where both have one CPU.
  if (availableParallelism() === 1) setFlagsFromString("--no-parallel-scavenge");
}
