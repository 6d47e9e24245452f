import { availableParallelism } from "node:os";
import { setFlagsFromString } from "node:v8";

/** From this version on (Node 24) the space of young objects may grow to four times 16 MiB, which is too much to take at once. */
const V8_WITH_MORE_YOUNG_SPACE = 13;

/**
 * How V8 collects garbage in a process that serves. Once it serves, and not before: what the build has compiled, and what
 * Node brings compiled, V8 takes only under the settings that it was compiled under.
 */
export function setUpCollector(): void {
  // V8 collects the young objects once they fill four fifths of their space, in the hope of a moment of leisure: under
  // load there is none, and it is a quarter more collections.
  setFlagsFromString("--no-minor-gc-task");
  // V8 shrinks their space to 1 MiB in any pause and doubles it slowly: 20 collections a second for most of what comes
  // behind one, 2 where it has its 16 MiB again after the first megabyte that stays.
  if (Number.parseInt(process.versions.v8, 10) < V8_WITH_MORE_YOUNG_SPACE)
    setFlagsFromString("--semi-space-growth-factor=16");
  // To share with another thread what is little work is to wait for it, where both have one CPU.
  if (availableParallelism() === 1) setFlagsFromString("--no-parallel-scavenge");
}
