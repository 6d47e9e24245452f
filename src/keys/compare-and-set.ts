import type { RedisCommands } from "./redis-connection.ts";

/** How long the new value lives: for ever, as long as the old one would have, or so many milliseconds. */
export type Lifetime = "forever" | "kept" | number;

/**
 * Replaces a value if it is still `expected` (null: nothing is there), in one step; `next` of null removes it. False:
 * somebody else was faster, nothing was changed. One key, one command: it works alike in a cluster.
 */
export async function compareAndSet(
  redis: RedisCommands,
  key: string,
  expected: string | null,
  next: string | null,
  lifetime: Lifetime = "forever",
): Promise<boolean> {
  return (await redis.call(...compareAndSetCommand(key, expected, next, lifetime))) === 1;
}

/** The command itself, for a pipeline; it answers 1 or 0. */
export function compareAndSetCommand(
  key: string,
  expected: string | null,
  next: string | null,
  lifetime: Lifetime,
): [string, ...(string | number)[]] {
  return ["EVAL", SCRIPT, 1, key, expected ?? "", next ?? "", lifetime];
}

const SCRIPT = `local current = redis.call("GET", KEYS[1]) or ""
if current ~= ARGV[1] then return 0 end
if ARGV[2] == "" then redis.call("DEL", KEYS[1])
elseif ARGV[3] == "kept" then redis.call("SET", KEYS[1], ARGV[2], "KEEPTTL")
elseif ARGV[3] == "forever" then redis.call("SET", KEYS[1], ARGV[2])
else redis.call("SET", KEYS[1], ARGV[2], "PX", ARGV[3]) end
return 1`;
