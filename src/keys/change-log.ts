import type { ChangeEntry, ChangeLog, StreamPosition } from "./change-feed.ts";
import { compareStreamIds, idBefore } from "./change-feed.ts";
import { type RedisCommands, type RedisConnection, RedisRefusal } from "./redis-connection.ts";
import type { RedisLayout } from "./redis-layout.ts";
import type { WaitReport } from "./source.ts";

/** What happened to a record. `forget`: ask the key service again. */
export type ChangeOp = "upsert" | "delete" | "forget";

/** About so many changes are kept; a follower that was away for longer forgets everything it knew. */
export const CHANGES_MAX = 10_000;
/** An instance lives this long after its last sign. */
const LIFE_MS = 15_000;
const READ_MAX = 500;
/** After an answer that did not come, so many times fewer entries are asked for. */
const READ_LESS = 8;
const SIGN_OFF_MS = 1200;
/** Names of followers that are kept: those of the dead go first, for nobody signs them off. */
const FOLLOWERS_MAX = 10_000;

/** Appends one change; gives the entry's id. */
export async function appendChange(
  redis: RedisCommands,
  layout: RedisLayout,
  change: { readonly op: ChangeOp; readonly hash: string; readonly id: string; readonly at: number },
): Promise<string> {
  return String(await redis.call(...changeCommand(layout, change)));
}

export function changeCommand(
  layout: RedisLayout,
  { op, hash, id, at }: { readonly op: ChangeOp; readonly hash: string; readonly id: string; readonly at: number },
): [string, ...(string | number)[]] {
  return ["XADD", layout.changes, "MAXLEN", "~", CHANGES_MAX, "*", "op", op, "hash", hash, "id", id, "at", at];
}

/**
 * The stream of changes in Redis, followed by `follower`: `instance/worker`, as it signs for what it has acted on.
 * `connection` waits in blocking reads; `commands` is the one that records are read over, and that signs off, which need
 * not wait for a read to end. Signs go over the first: they must say that it works, and a refused write must not disturb
 * those who read records.
 */
export function createChangeLog(
  connection: RedisConnection,
  layout: RedisLayout,
  follower: string,
  commands: RedisConnection = connection,
): ChangeLog {
  let count = READ_MAX;
  return {
    position: () => readPosition(connection, layout),
    async read(after, blockMs) {
      const asked = count;
      // Where Redis ends connections by `client-output-buffer-limit`, the same answer would never get through.
      count = Math.ceil(asked / READ_LESS);
      const answer = await connection.call("XREAD", "COUNT", asked, "BLOCK", blockMs, "STREAMS", layout.changes, after);
      const entries = readEntries(answer);
      count = entries.length < asked ? READ_MAX : Math.min(2 * asked, READ_MAX);
      return entries;
    },
    async holds(id) {
      const answer = await connection.call("XREAD", "COUNT", 1, "STREAMS", layout.changes, idBefore(id));
      return readEntries(answer)[0]?.id === id;
    },
    async gather() {
      const [followed, asked] = await Promise.all([connection.serverId(), commands.serverId()]);
      if (followed === null || asked === null || followed === asked) return true;
      commands.reconnect();
      return false;
    },
    async acknowledge(id) {
      try {
        await connection.call("SET", layout.instance(follower), id, "PX", LIFE_MS);
        await connection.call("ZADD", layout.instances, Date.now(), follower);
        await connection.call("ZREMRANGEBYRANK", layout.instances, 0, -1 - FOLLOWERS_MAX);
      } catch (error) {
        // Read-only or full: changes can not be made then, but those that come are still acted on. `--wait` notices: it
        // no longer counts this instance.
        if (!(error instanceof RedisRefusal)) throw error;
      }
    },
    reconnect: () => connection.reconnect(),
    whenUp: (ms) => connection.whenUp(ms),
    async close() {
      // Whoever waits for instances should not wait for this one. If Redis is away the name fades by itself.
      const signOff = Promise.allSettled([
        commands.call("DEL", layout.instance(follower)),
        commands.call("ZREM", layout.instances, follower),
      ]);
      await Promise.race([signOff, new Promise((resolve) => setTimeout(resolve, SIGN_OFF_MS))]);
      await connection.close();
    },
  };
}

/**
 * Waits until every live instance has acted on the entry `id`, or `timeoutMs` went by. An instance counts once, however
 * many workers it has, and has acted when all of them have; one that dies meanwhile no longer counts.
 */
export async function waitForInstances(
  redis: RedisCommands,
  layout: RedisLayout,
  id: string,
  timeoutMs: number,
): Promise<WaitReport> {
  const startedAt = performance.now();
  for (let pauseMs = 5; ; pauseMs = Math.min(pauseMs * 1.5, 100)) {
    const states = await readInstances(redis, layout, id);
    const ms = Math.round(performance.now() - startedAt);
    const missing = [...states].filter(([, acted]) => !acted).map(([name]) => name);
    if (missing.length === 0 || ms >= timeoutMs) {
      return { instances: states.size, acknowledged: states.size - missing.length, ms, missing: missing.sort() };
    }
    await new Promise((resolve) => setTimeout(resolve, Math.min(pauseMs, timeoutMs - ms)));
  }
}

/** Live instances by name, and whether each has acted on the entry. Redis' own clock says who lives. */
async function readInstances(redis: RedisCommands, layout: RedisLayout, id: string): Promise<Map<string, boolean>> {
  const followers = (await redis.call("ZRANGE", layout.instances, 0, -1)) as string[];
  const acknowledged = await Promise.all(followers.map((name) => redis.call("GET", layout.instance(name))));
  const states = new Map<string, boolean>();
  followers.forEach((follower, index) => {
    const seen = acknowledged[index];
    if (typeof seen !== "string") return;
    const instance = follower.split("/")[0] ?? follower;
    const acted = STREAM_ID.test(seen) && compareStreamIds(seen, id) >= 0;
    states.set(instance, (states.get(instance) ?? true) && acted);
  });
  return states;
}

const STREAM_ID = /^\d{1,20}-\d{1,20}$/;

async function readPosition(redis: RedisCommands, layout: RedisLayout): Promise<StreamPosition | null> {
  let answer: unknown;
  try {
    answer = await redis.call("XINFO", "STREAM", layout.changes);
  } catch (error) {
    // `ERR no such key`, or a server that does not know XINFO: then nothing is known.
    if (!(error instanceof RedisRefusal) || error.code !== "ERR") throw error;
    if ((await redis.call("EXISTS", layout.changes)) !== 0) throw error;
    return null;
  }
  const facts = pairs(answer);
  const first = facts.get("first-entry");
  return {
    last: String(facts.get("last-generated-id")),
    first: Array.isArray(first) ? String(first[0]) : null,
    // Redis before 7 does not count: then it can not be known.
    whole: facts.has("entries-added") && facts.get("entries-added") === facts.get("length"),
  };
}

/** `[[stream, [[id, [field, value, ...]], ...]]]`, or null when nothing came. */
function readEntries(answer: unknown): ChangeEntry[] {
  if (!Array.isArray(answer)) return [];
  const [, entries] = (answer[0] ?? []) as [string, [string, string[]][]];
  return (entries ?? []).map(([id, fields]) => {
    const members = pairs(fields);
    return {
      id,
      op: String(members.get("op") ?? ""),
      hash: String(members.get("hash") ?? ""),
      at: Number(members.get("at") ?? Number.NaN),
    };
  });
}

function pairs(flat: unknown): Map<string, unknown> {
  const list = Array.isArray(flat) ? flat : [];
  return new Map(list.flatMap((name, index) => (index % 2 === 0 ? [[String(name), list[index + 1]]] : [])));
}
