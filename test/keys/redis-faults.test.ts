import { expect, it, type TestContext } from "vitest";
import type { Lookup } from "../../src/keys/source.ts";
import { SourceUnavailable } from "../../src/keys/source.ts";
import { openKeyInstance } from "../support/key-instance.ts";
import { hashOf, until } from "../support/key-parts.ts";
import { describeRedis, startRedis, startShim } from "../support/redis.ts";
import {
  COLD,
  COMMAND_TIMEOUT_MS,
  commandTimeoutOf,
  FAULTS,
  type FaultCase,
  SLACK_MS,
  seedRecords,
  staysUp,
} from "../support/redis-faults.ts";

/** Tests run at once: what one opens must be closed when that very one ends. */
async function setUp({ onTestFinished }: TestContext, fault: FaultCase) {
  const server = await startRedis();
  const shim = await startShim(server.port);
  onTestFinished(async () => {
    server.thaw();
    await shim.close();
    await server.close();
  });
  await seedRecords(server);
  const open = async (freshMs = 300) => {
    const instance = await openKeyInstance(
      { url: shim.url, commandTimeout: commandTimeoutOf(fault) },
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
      const { server, shim, open, cold } = await setUp(context, fault);
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
      const { server, shim, open, cold } = await setUp(context, fault);
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
      const { server, shim, open, cold } = await setUp(context, fault);
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
      const { server, shim, open, cold } = await setUp(context, fault);
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
