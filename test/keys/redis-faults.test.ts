import { expect, it, type TestContext } from "vitest";
import { encodeRecord } from "../../src/keys/record-codec.ts";
import { createRedisLayout } from "../../src/keys/redis-layout.ts";
import type { Lookup } from "../../src/keys/source.ts";
import { SourceUnavailable } from "../../src/keys/source.ts";
import { openKeyInstance } from "../support/key-instance.ts";
import { hashOf, recordOf, until } from "../support/key-parts.ts";
import { describeRedis, type Shim, startRedis, startShim, type TestRedis } from "../support/redis.ts";

const layout = createRedisLayout("sentinel:");
const COMMAND_TIMEOUT_MS = 400;
/** What a busy machine may add to any wait. */
const SLACK_MS = 1000;
const COLD = 400;

interface FaultCase {
  readonly name: string;
  /** Whether records can be read all the same. */
  readonly reads: boolean;
  inject(server: TestRedis, shim: Shim): unknown;
  heal(server: TestRedis, shim: Shim): unknown;
}

const byShim = (fault: Parameters<Shim["set"]>[0]) => ({
  inject: (_server: TestRedis, shim: Shim) => shim.set(fault),
  heal: (_server: TestRedis, shim: Shim) => shim.set({ kind: "none" }),
});

const FAULTS: readonly FaultCase[] = [
  {
    name: "down",
    reads: false,
    inject: (server) => server.kill(),
    heal: async (server) => {
      await server.restart();
      await seed(server);
    },
  },
  { name: "frozen", reads: false, inject: (server) => server.freeze(), heal: (server) => server.thaw() },
  { name: "blackholed", reads: false, ...byShim({ kind: "freeze" }) },
  {
    name: "refusing",
    reads: false,
    inject: (_server, shim) => {
      shim.set({ kind: "refuse" });
      shim.cut();
    },
    heal: (_server, shim) => shim.set({ kind: "none" }),
  },
  { name: "far too slow", reads: false, ...byShim({ kind: "latency", ms: 1500 }) },
  { name: "slow", reads: true, ...byShim({ kind: "latency", ms: 30 }) },
  { name: "cut into single bytes", reads: true, ...byShim({ kind: "slice" }) },
  { name: "reset in each answer", reads: false, ...byShim({ kind: "reset" }) },
  { name: "garbage", reads: false, ...byShim({ kind: "garbage" }) },
  {
    name: "read-only",
    reads: true,
    inject: (server) => server.run("REPLICAOF", "127.0.0.1", "1"),
    heal: (server) => server.run("REPLICAOF", "NO", "ONE"),
  },
  {
    name: "out of memory",
    reads: true,
    inject: (server) => server.run("CONFIG", "SET", "maxmemory", "1mb"),
    heal: (server) => server.run("CONFIG", "SET", "maxmemory", "0"),
  },
  {
    name: "a wrong password",
    reads: false,
    inject: async (server, shim) => {
      await server.run("CONFIG", "SET", "requirepass", "another");
      shim.cut();
    },
    heal: (server) => server.run("-a", "another", "--no-auth-warning", "CONFIG", "SET", "requirepass", ""),
  },
  {
    name: "no permission to read",
    reads: false,
    inject: (server) => server.run("ACL", "SETUSER", "default", "-getrange"),
    heal: (server) => server.run("ACL", "SETUSER", "default", "+getrange"),
  },
  {
    name: "loading",
    reads: false,
    inject: async (server) => {
      await server.run("SAVE");
      // Each of the keys takes 10 ms to load: four seconds in all.
      await server.restartLoading(["--key-load-delay", "10000", "--loading-process-events-interval-bytes", "1024"]);
    },
    heal: async (server) => {
      await server.restart();
      await seed(server);
    },
  },
];

/** The state of Redis' connection changes with these. With the others Redis answers, if unkindly. */
const staysUp = ({ name, reads }: FaultCase) => reads || name === "no permission to read";

async function seed(server: TestRedis): Promise<void> {
  const secrets = ["warm", ...Array.from({ length: COLD }, (_, index) => `cold${index}`)];
  const pairs = secrets.flatMap((secret) => [layout.key(hashOf(secret)), encodeRecord(recordOf(secret))]);
  await server.run("MSET", ...pairs);
}

/** Tests run at once: what one opens must be closed when that very one ends. */
async function setUp({ onTestFinished }: TestContext) {
  const server = await startRedis();
  const shim = await startShim(server.port);
  onTestFinished(async () => {
    server.thaw();
    await shim.close();
    await server.close();
  });
  await seed(server);
  const open = async (freshMs = 300) => {
    const instance = await openKeyInstance(
      { url: shim.url, commandTimeout: COMMAND_TIMEOUT_MS },
      { freshMs, missingMs: 100 },
    );
    onTestFinished(() => instance.close());
    return instance;
  };
  let next = 0;
  return { server, shim, open, cold: () => `cold${next++ % COLD}` };
}

type Instance = Awaited<ReturnType<typeof openKeyInstance>>;

/** One look-up: what came of it and how long it took. An absence is never right here: every key exists. */
async function lookUp(instance: Instance, secret: string): Promise<{ id: string | null; ms: number }> {
  const startedAt = performance.now();
  let found: Lookup | null = null;
  try {
    found = await instance.memory.find(hashOf(secret));
  } catch (error) {
    expect(error).toBeInstanceOf(SourceUnavailable);
  }
  const ms = performance.now() - startedAt;
  if (found === null) return { id: null, ms };
  expect(found.record, "an outage never looks like a bad key").not.toBeNull();
  expect(found.record?.id).toBe(`key_${secret}`);
  return { id: found.record?.id ?? null, ms };
}

/** Traffic during the fault, until what it should come to has come. */
async function load(instance: Instance, fault: FaultCase, cold: () => string): Promise<void> {
  const waits: number[] = [];
  await until(`${fault.name} shows`, async () => {
    const results = await Promise.all([lookUp(instance, cold()), lookUp(instance, cold())]);
    waits.push(...results.map(({ ms }) => ms));
    return fault.reads ? results.every(({ id }) => id !== null) : results.every(({ id }) => id === null);
  });
  if (!staysUp(fault)) {
    await until("noticed", async () => {
      waits.push((await lookUp(instance, cold())).ms);
      return !instance.redis.isUp;
    });
  }
  expect(Math.max(...waits)).toBeLessThan(COMMAND_TIMEOUT_MS + SLACK_MS);
  // From here on it costs next to nothing: a hundred look-ups together take no longer than one would have waited.
  const startedAt = performance.now();
  for (let index = 0; index < 100; index += 1) {
    const { id } = await lookUp(instance, cold());
    if (fault.reads) expect(id).not.toBeNull();
  }
  if (!staysUp(fault)) expect(performance.now() - startedAt).toBeLessThan(COMMAND_TIMEOUT_MS + SLACK_MS);
}

async function recovers(instance: Instance, cold: () => string): Promise<void> {
  await until("it is back", async () => (await lookUp(instance, cold())).id !== null, 8000);
  await until("ready", () => instance.memory.readiness().ready && instance.redis.isUp);
  await until("following", () => instance.isFollowing());
}

describeRedis.concurrent("with Redis", () => {
  for (const fault of FAULTS) {
    it(`${fault.name} at the start: it opens, can not tell, is not ready, and becomes ready by itself`, async (context) => {
      const { server, shim, open, cold } = await setUp(context);
      await fault.inject(server, shim);
      const startedAt = performance.now();
      const instance = await open();
      expect(performance.now() - startedAt).toBeLessThan(SLACK_MS);
      await load(instance, fault, cold);
      expect(instance.memory.readiness().ready).toBe(staysUp(fault));
      await fault.heal(server, shim);
      await recovers(instance, cold);
      expect(instance.states).toEqual(staysUp(fault) ? ["redis_up"] : ["redis_down", "redis_up"]);
    });

    it(`${fault.name} while it runs: keys in memory serve on, one line a change, back by itself`, async (context) => {
      const { server, shim, open, cold } = await setUp(context);
      const instance = await open();
      await recovers(instance, cold);
      expect((await lookUp(instance, "warm")).id).toBe("key_warm");
      await fault.inject(server, shim);
      await load(instance, fault, cold);
      for (let index = 0; index < 20; index += 1) expect((await lookUp(instance, "warm")).id).toBe("key_warm");
      await fault.heal(server, shim);
      await recovers(instance, cold);
      expect(instance.states).toEqual(staysUp(fault) ? ["redis_up"] : ["redis_up", "redis_down", "redis_up"]);
    });

    it(`${fault.name} across a reload: the new generation opens beside the old one and takes over`, async (context) => {
      const { server, shim, open, cold } = await setUp(context);
      const old = await open();
      await recovers(old, cold);
      await fault.inject(server, shim);
      const next = await open();
      await load(next, fault, cold);
      await old.close();
      await fault.heal(server, shim);
      await recovers(next, cold);
    });

    it(`${fault.name} at the end: what waits is told, and closing takes no longer than a second or so`, async (context) => {
      const { server, shim, open, cold } = await setUp(context);
      const instance = await open();
      await recovers(instance, cold);
      await fault.inject(server, shim);
      const waiting = Array.from({ length: 50 }, () => lookUp(instance, cold()));
      const startedAt = performance.now();
      await instance.close();
      await Promise.all(waiting);
      expect(performance.now() - startedAt).toBeLessThan(1200 + COMMAND_TIMEOUT_MS + SLACK_MS);
      await fault.heal(server, shim);
    });
  }
});
