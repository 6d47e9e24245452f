// A million records in Redis: time and memory to import them, to list them, to start, and to look them up.
//   node bench/million-keys.mjs [KEYS]
import { createHash } from "node:crypto";
import { join } from "node:path";
import { build } from "esbuild";
import * as rig from "./keys-rig.mjs";

const count = Number(process.argv[2] ?? 1_000_000);
const BATCH = 50_000;
const SAMPLE = 5000;
const secretOf = (index) => `unkey_bench${String(index).padStart(19, "0")}`;
const hashOf = (secret) => createHash("sha256").update(secret).digest("base64");

const redis = await rig.startRedis();
const empty = await usedMiB();
const connection = await open();
const importMs = await time(async () => {
  for (let start = 0; start < count; start += BATCH) await connection.store.importKeyring(keyring(start));
});
const importerMiB = rig.residentMiB(process.pid);
const full = await usedMiB();

const pings = [];
let listing = true;
const watch = (async () => {
  while (listing) {
    pings.push(await time(() => connection.redis.call("PING")));
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
})();
let listed = 0;
const listMs = await time(async () => {
  const other = await open();
  for await (const _ of other.store.list()) listed += 1;
  await other.store.close();
});
listing = false;
await watch;

const config = await rig.writeConfig(redis, await rig.startUpstream(), { maxKeys: count, fresh: "10m" });
const gateway = await rig.startGateway(config);
const startMiB = rig.residentMiB(gateway.pid);
const step = Math.floor(count / SAMPLE) || 1;
const cold = await lookUpAll();
const warm = await lookUpAll();
const warmMiB = rig.residentMiB(gateway.pid);
rig.print(`${count} records`, {
  import: `${(importMs / 1000).toFixed(1)} s, ${Math.round(count / (importMs / 1000))} a second`,
  "the importing process": `${importerMiB.toFixed(0)} MiB`,
  "in Redis": `${(full - empty).toFixed(0)} MiB, ${Math.round(((full - empty) * 1024 * 1024) / count)} bytes a record`,
  list: `${(listMs / 1000).toFixed(1)} s for ${listed}`,
  "PING to Redis meanwhile, p50 / p99": `${ms(pings, 0.5)} / ${ms(pings, 0.99)}`,
  "a gateway is ready after": `${gateway.readyMs.toFixed(0)} ms, ${startMiB.toFixed(0)} MiB`,
  [`${cold.length} requests with cold keys, p50 / p99`]: `${ms(cold, 0.5)} / ${ms(cold, 0.99)}`,
  "the same again, warm, p50 / p99": `${ms(warm, 0.5)} / ${ms(warm, 0.99)}`,
  "the gateway then": `${warmMiB.toFixed(0)} MiB`,
});
await connection.store.close();
rig.close();
process.exit(0);

async function lookUpAll() {
  const waits = [];
  for (let index = 0; index < count; index += step) {
    const secret = secretOf(index);
    waits.push(
      await time(async () => {
        const status = await rig.get(gateway.port, "/x", secret);
        if (status !== 200) throw new Error(`${secret} got ${status}`);
      }),
    );
  }
  return waits;
}

function keyring(start) {
  const grants = new Set(["api.bench.read_api"]);
  const records = Array.from({ length: Math.min(BATCH, count - start) }, (_, offset) => {
    const secret = secretOf(start + offset);
    return {
      id: `key_${start + offset}`,
      hash: hashOf(secret),
      start: secret.slice(0, 10),
      name: null,
      workspaceId: null,
      workspaceEnabled: true,
      enabled: true,
      expiresAt: null,
      permissions: ["api.bench.read_api"],
      roles: [],
      grants,
      identity: null,
      meta: {},
      createdAt: Date.now(),
      updatedAt: Date.now(),
    };
  });
  return { records, roles: new Map(), workspaces: new Map() };
}

/** The store itself: a keyring file of a million keys would measure the YAML parser. */
async function open() {
  const outfile = join(rig.dir, "store.mjs");
  await build({
    stdin: {
      contents: `export { connectRedis } from "./src/keys/redis-connection.ts";
        export { createRedisLayout } from "./src/keys/redis-layout.ts";
        export { createRedisStore } from "./src/keys/redis-store.ts";`,
      resolveDir: join(import.meta.dirname, ".."),
    },
    outfile,
    bundle: true,
    format: "esm",
    platform: "node",
    logLevel: "error",
    banner: { js: "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url);" },
  });
  const { connectRedis, createRedisLayout, createRedisStore } = await import(outfile);
  const settings = { url: redis.url, keyPrefix: "sentinel:", commandTimeout: 5000 };
  const connected = await connectRedis(settings, { log: () => {}, mono: () => performance.now() });
  const store = createRedisStore(connected, {
    layout: createRedisLayout("sentinel:"),
    keyPrefix: "unkey_",
    records: "redis",
    forgottenMs: 60_000,
    now: Date.now,
  });
  return { redis: connected, store };
}

async function usedMiB() {
  return Number(/used_memory:(\d+)/.exec(await redis.cli("INFO", "memory"))?.[1]) / 1024 / 1024;
}

async function time(act) {
  const startedAt = performance.now();
  await act();
  return performance.now() - startedAt;
}

function ms(values, q) {
  return `${rig.quantile(values, q).toFixed(2)} ms`;
}
