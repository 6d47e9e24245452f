// node --expose-gc lookups.mjs MODULE COUNT: what a look-up of a known key costs, and what a record weighs, in memory.
import { hash } from "node:crypto";

const { createMemorySource } = await import(process.argv[2]);
const count = Number(process.argv[3]);
const LOOKUPS = 1_000_000;
const secretOf = (i) => `unkey_${String(i).padStart(24, "0")}`;
const hashOf = (secret) => hash("sha256", secret, "base64");

const origin = {
  find: async (wanted) => ({ record: recordOf(wanted), asOf: Date.now(), tier: "http" }),
  readiness: () => ({ ready: true, reason: "" }),
  close: async () => {},
};
const limits = { maxKeys: count, freshMs: 3_600_000, maxAgeMs: 3_600_000, staleIfErrorMs: 3_600_000, missingMs: 5000 };
const source = createMemorySource(origin, limits, {
  now: Date.now,
  mono: () => performance.now(),
  observer: { lookup: () => {} },
});

globalThis.gc();
const before = process.memoryUsage().rss;
for (let i = 0; i < count; i++) await source.find(hashOf(secretOf(i)));
globalThis.gc();
const bytes = (process.memoryUsage().rss - before) / count;

// A stride that visits all of them, far apart.
const secrets = Array.from({ length: Math.min(count, 100_000) }, (_, i) => secretOf((i * 7919) % count));
let least = Number.POSITIVE_INFINITY;
for (let round = 0; round < 5; round++) {
  const began = process.cpuUsage();
  for (let i = 0; i < LOOKUPS; i++) {
    const lookup = source.find(hashOf(secrets[i % secrets.length]));
    if (lookup instanceof Promise) throw new Error("a record was not in memory");
  }
  const { user, system } = process.cpuUsage(began);
  least = Math.min(least, ((user + system) * 1000) / LOOKUPS);
}
console.log(JSON.stringify({ nanoseconds: least, bytes }));
process.exit(0);

function recordOf(keyHash) {
  const grants = new Set(["api.api_1234.read_api"]);
  return {
    id: `key_${keyHash.slice(0, 12)}`,
    hash: keyHash,
    start: "unkey_0000",
    name: null,
    workspaceId: null,
    workspaceEnabled: true,
    enabled: true,
    expiresAt: null,
    permissions: [...grants],
    roles: [],
    grants,
    identity: null,
    meta: {},
    createdAt: 0,
    updatedAt: 0,
  };
}
