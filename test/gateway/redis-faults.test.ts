import { once } from "node:events";
import { readFileSync, writeFileSync } from "node:fs";
import { Agent, createServer, type IncomingHttpHeaders, request } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { expect, it, type TestContext } from "vitest";
import { type RunningGateway, startGateway } from "../support/gateway.ts";
import { endIdle } from "../support/idle-sockets.ts";
import { until } from "../support/key-parts.ts";
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

/** A Redis behind a shim, an upstream, and gateways as processes; all of them closed when that very test ends. */
async function setUp({ onTestFinished }: TestContext, fault: FaultCase) {
  const redis = await startRedis();
  const shim = await startShim(redis.port);
  await seedRecords(redis);
  const upstream = createServer((asked, response) => {
    if (asked.url !== "/slow") response.end("ok");
    else setTimeout(() => response.end("ok"), 300);
  }).listen(0, "127.0.0.1");
  await once(upstream, "listening");
  const gateways: RunningGateway[] = [];
  const agent = new Agent({ keepAlive: true });
  onTestFinished(async () => {
    redis.thaw();
    endIdle(agent);
    for (const gateway of gateways) if (gateway.alive) await gateway.stop();
    agent.destroy();
    upstream.closeAllConnections();
    upstream.close();
    await shim.close();
    await redis.close();
  });

  async function open(): Promise<Instance> {
    const gateway = await startGateway({
      config: {
        keys: { prefix: "", source: { type: "redis" }, cache: { fresh: "300ms", missing: "100ms" } },
        redis: { url: shim.url, commandTimeout: `${commandTimeoutOf(fault)}ms` },
        upstreams: [{ name: "ok", targets: [`http://127.0.0.1:${(upstream.address() as AddressInfo).port}`] }],
        routes: [{ name: "all", match: { pathPrefix: "/" }, permissions: "api.a.read_api", upstream: "ok" }],
      },
    });
    gateways.push(gateway);
    let next = 0;
    const ask = (key: string, path = "/x") => timedAsk(gateway, agent, key, path);
    return { gateway, ask, cold: () => `cold${next++ % COLD}` };
  }
  return { redis, shim, open };
}

interface Instance {
  readonly gateway: RunningGateway;
  ask(key: string, path?: string): Promise<Told>;
  /** The next of the keys that are in Redis and were not asked for lately. */
  cold(): string;
}

/** What a client is told. */
interface Told {
  readonly status: number;
  readonly ms: number;
  readonly requestId: string;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

function timedAsk(gateway: RunningGateway, agent: Agent, key: string, path: string) {
  const startedAt = performance.now();
  return new Promise<Told>((resolve, reject) => {
    const headers = { authorization: `Bearer ${key}` };
    request({ host: "127.0.0.1", port: gateway.port, path, agent, headers }, (response) => {
      const { statusCode: status = 0, headers } = response;
      const requestId = String(headers["x-request-id"]);
      let body = "";
      response.setEncoding("utf8").on("data", (text: string) => {
        body += text;
      });
      response.on("end", () => resolve({ status, ms: performance.now() - startedAt, requestId, headers, body }));
    })
      .on("error", reject)
      .end();
  });
}

const isReady = async ({ gateway }: Instance) => (await fetch(`${gateway.adminOrigin}/readyz`)).status === 200;

const ready = (instance: Instance) => until("ready", () => isReady(instance));

function stateChanges({ gateway }: Instance): unknown[] {
  return gateway.logs().flatMap(({ event }) => (event === "redis_up" || event === "redis_down" ? [event] : []));
}

const WARN = 40;
const CODE = "err:unkey:application:service_unavailable";

/** The client is told nothing of Redis; the log says why, and whose fault it is not. */
async function expectCause({ gateway }: Instance, { requestId, headers, body }: Told, cause: RegExp): Promise<void> {
  expect(JSON.parse(body)).toEqual({
    meta: { requestId },
    error: {
      detail: "The service is temporarily unavailable. Please try again later.",
      status: 503,
      title: "Service Unavailable",
      type: "https://unkey.com/docs/errors/unkey/application/service_unavailable",
    },
  });
  expect(headers).toMatchObject({
    "content-type": "application/json",
    "retry-after": expect.stringMatching(/^\d+$/),
    "x-unkey-error-source": "sentinel",
  });
  expect(headers["www-authenticate"]).toBeUndefined();
  const record = await gateway.waitForRecord((line) => line.requestId === requestId);
  expect(record).toMatchObject({ status: 503, code: CODE, verdict: "source_unavailable", route: expect.any(String) });
  expect(JSON.stringify(record.cause)).toMatch(cause);
}

/** The value of one line of /metrics; 0 where there is none. */
async function metric({ gateway }: Instance, name: string, labels: Readonly<Record<string, string>> = {}) {
  const text = await (await fetch(`${gateway.adminOrigin}/metrics`)).text();
  let sum = 0;
  for (const line of text.split("\n")) {
    const matches = Object.entries(labels).every(([label, value]) => line.includes(`${label}="${value}"`));
    if ((line.startsWith(`${name} `) || line.startsWith(`${name}{`)) && matches) sum += Number(line.split(" ").at(-1));
  }
  return sum;
}

const refusals = async (instance: Instance) => ({
  requests: await metric(instance, "sentinel_requests_total", { status: "503" }),
  verdicts: await metric(instance, "sentinel_verdicts_total", { verdict: "source_unavailable" }),
});

/** Known keys pass, others are 200 where Redis can be read and 503 where not; few wait, and none longer than a command. */
async function endure(instance: Instance, fault: FaultCase): Promise<void> {
  const { ask, cold, gateway } = instance;
  const expected = fault.reads ? 200 : 503;
  const waits: number[] = [];
  await until(`${fault.name} shows`, async () => {
    const { status, ms } = await ask(cold());
    waits.push(ms);
    expect([200, 503]).toContain(status);
    return status === expected;
  });
  if (!staysUp(fault)) {
    await until("it is noticed", async () => {
      waits.push((await ask(cold())).ms);
      return stateChanges(instance).at(-1) === "redis_down";
    });
  }
  const before = await refusals(instance);
  let late = 0;
  for (let round = 0; round < 100; round += 1) {
    const told = await ask(cold());
    const { status, ms } = told;
    expect(status).toBe(expected);
    if (status === 503 && round % 20 === 0) await expectCause(instance, told, fault.cause);
    if (ms > COMMAND_TIMEOUT_MS / 2) late += 1;
    waits.push(ms);
    if (round % 10 === 0) expect((await ask("warm")).status).toBe(200);
  }
  const added = fault.reads ? 0 : 100;
  expect(await refusals(instance)).toEqual({ requests: before.requests + added, verdicts: before.verdicts + added });
  expect(await metric(instance, "sentinel_verdicts_total", { verdict: "key_not_found" })).toBe(0);
  expect(await metric(instance, "sentinel_redis_up")).toBe(staysUp(fault) ? 1 : 0);
  if (!fault.reads) {
    expect(await metric(instance, "sentinel_key_lookups_total", { tier: "redis", outcome: "error" })).toBeGreaterThan(
      0,
    );
    await until("what is known is older than fresh, and still passes", async () => {
      expect((await ask("warm")).status).toBe(200);
      return (await metric(instance, "sentinel_key_lookups_total", { tier: "memory", outcome: "stale" })) > 0;
    });
  }
  expect(Math.max(...waits)).toBeLessThan(COMMAND_TIMEOUT_MS + SLACK_MS);
  // A breaker: a request now and then tries whether Redis is back, the others are told at once.
  if (!staysUp(fault)) expect(late).toBeLessThan(20);
  expect(gateway.alive).toBe(true);
  expect((await fetch(`${gateway.adminOrigin}/livez`)).status).toBe(200);
}

/** One line a change, in this order, and its reason where it is bad; the metric says the same. */
async function expectStates(instance: Instance, changes: readonly string[], fault: FaultCase): Promise<void> {
  await until("the change is told", () => stateChanges(instance).length >= changes.length);
  expect(stateChanges(instance)).toEqual(changes);
  for (const line of instance.gateway.logs()) {
    if (line.event === "redis_down")
      expect(line).toMatchObject({ level: WARN, reason: expect.stringMatching(fault.down) });
  }
  expect(await metric(instance, "sentinel_redis_up")).toBe(1);
}

async function recovers(instance: Instance): Promise<void> {
  await until("it is back", async () => (await instance.ask(instance.cold())).status === 200, 10_000);
  await ready(instance);
}

describeRedis.concurrent("a gateway with Redis", { timeout: 60_000 }, () => {
  for (const fault of FAULTS) {
    it(`${fault.name} at the start: opens, tells nobody that a key is bad, becomes ready by itself`, async (context) => {
      const { redis, shim, open } = await setUp(context, fault);
      await fault.inject(redis, shim);
      const instance = await open();
      const told = await instance.ask(instance.cold());
      expect(fault.reads ? [200, 503] : [503]).toContain(told.status);
      if (told.status === 503) await expectCause(instance, told, fault.cause);
      if (fault.reads) await ready(instance);
      else if (!staysUp(fault)) expect(await isReady(instance)).toBe(false);
      await fault.heal(redis, shim);
      await recovers(instance);
      const changes = staysUp(fault) ? ["redis_up"] : ["redis_down", "redis_up"];
      await expectStates(instance, changes, fault);
    });

    it(`${fault.name} while it serves, across a reload, and back: known keys pass, one line a change`, async (context) => {
      const { redis, shim, open } = await setUp(context, fault);
      const instance = await open();
      const { gateway } = instance;
      await ready(instance);
      expect((await instance.ask("warm")).status).toBe(200);
      await fault.inject(redis, shim);
      await endure(instance, fault);

      const file = join(gateway.folder, "sentinel.yaml");
      writeFileSync(file, readFileSync(file, "utf8").replace("name: all", "name: everything"));
      await gateway.waitForRecord(({ event }) => event === "config_reloaded");
      await endure(instance, fault);
      // A reload that has nothing to do with keys opens no connection, and so tells no state again.
      expect(stateChanges(instance)).toEqual(staysUp(fault) ? ["redis_up"] : ["redis_up", "redis_down"]);

      await fault.heal(redis, shim);
      await recovers(instance);
      const changes = staysUp(fault) ? ["redis_up"] : ["redis_up", "redis_down", "redis_up"];
      await expectStates(instance, changes, fault);
    });

    it(`${fault.name} at the end: what is under way is answered, and the process ends with 0`, async (context) => {
      const { redis, shim, open } = await setUp(context, fault);
      const instance = await open();
      await ready(instance);
      expect((await instance.ask("warm")).status).toBe(200);
      await fault.inject(redis, shim);
      let answered = 0;
      const asked = [instance.ask("warm", "/slow"), instance.ask(instance.cold())].map(async (asking) => {
        const { status } = await asking;
        answered += 1;
        return status;
      });
      const statuses = Promise.all(asked);
      const inFlight = () => metric(instance, "sentinel_requests_in_flight");
      await until("both have come", async () => answered + (await inFlight()) >= 2);
      instance.gateway.signal("SIGTERM");
      expect(await statuses).toEqual([200, expect.toSatisfy((status) => status === 200 || status === 503)]);
      expect(await instance.gateway.exited).toBe(0);
    });
  }
});
