import { VALUE_BYTES_MAX } from "./record-codec.ts";
import type { RedisConnection } from "./redis-connection.ts";
import type { RedisLayout } from "./redis-layout.ts";
import { decode } from "./redis-source.ts";
import type { KeyHash, KeyRecord } from "./root-key.ts";

const PAGE = 500;

/** Every record, in no order. SCAN and pipelines go page by page: Redis serves others in between. */
export async function* listRecords(redis: RedisConnection, layout: RedisLayout): AsyncGenerator<KeyRecord> {
  const prefix = layout.key("" as KeyHash);
  // SCAN may give a key twice.
  const seen = new Set<string>();
  for (const node of redis.masters()) {
    let cursor = "0";
    do {
      const [next, keys] = (await node.call("SCAN", cursor, "MATCH", layout.keyPattern, "COUNT", PAGE)) as [
        string,
        string[],
      ];
      cursor = next;
      const fresh = keys.filter((key) => !seen.has(key));
      for (const key of fresh) seen.add(key);
      if (fresh.length === 0) continue;
      const values = await node.pipeline(fresh.map((key) => ["GETRANGE", key, 0, VALUE_BYTES_MAX] as const));
      for (const [index, text] of values.entries()) {
        const hash = (fresh[index] ?? "").slice(prefix.length) as KeyHash;
        const value = typeof text === "string" && text !== "" ? decode({ text }, hash) : null;
        // Copies are the key service's; what can not be read is counted by the gateways that meet it.
        if (value?.kind === "record") yield value.record;
      }
    } while (cursor !== "0");
  }
}
