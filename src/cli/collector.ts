import { availableParallelism } from "node:os";
import { setFlagsFromString } from "node:v8";

/**
 * How V8 collects garbage in a process that serves. Once it serves, and not before: what the build has compiled, and what
 * Node brings compiled, V8 takes only under the settings that it was compiled under.
 */
export function setUpCollector(): void {
  // V8 collects the young objects once they fill four fifths of their space, in the hope of a moment of leisure: under
  // load there is none, and it is a quarter more collections.
  setFlagsFromString("--no-minor-gc-task");
  // To share with another thread what is little work is to wait for it, where both have one CPU.
  if (availableParallelism() === 1) setFlagsFromString("--no-parallel-scavenge");
}
