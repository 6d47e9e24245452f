import { execFile } from "node:child_process";
import { once } from "node:events";
import { Agent, createServer, request, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterEach, beforeEach, expect, it } from "vitest";
import { encodeCopy } from "../../src/keys/record-codec.ts";
import { type RunningGateway, startGateway } from "../support/gateway.ts";
import { endIdle } from "../support/idle-sockets.ts";
import { hashOf, recordOf, until } from "../support/key-parts.ts";
import { describeRedis, startRedis, type TestRedis } from "../support/redis.ts";

/** What is shipped, from outside: gateways as processes, the command line, a real Redis. */
describeRedis("gateways with a redis source", () => {
  let redis: TestRedis;
  let upstream: Server;
  const gateways: RunningGateway[] = [];
  const agent = new Agent({ keepAlive: true });

  beforeEach(async () => {
    redis = await startRedis();
    upstream = createServer((_request, response) => response.end("ok")).listen(0, "127.0.0.1");
    await once(upstream, "listening");
  });
  afterEach(async () => {
    redis.thaw();
    endIdle(agent);
    for (const gateway of gateways.splice(0)) await gateway.stop();
    upstream.closeAllConnections();
    upstream.close();
    await redis.close();
  });

  async function open(change: Record<string, unknown> = {}): Promise<RunningGateway> {
    const gateway = await startGateway({
      config: {
        drain: { delay: "1ms", timeout: "2s" },
        keys: { source: { type: "redis" }, cache: { fresh: "500ms", missing: "200ms" } },
        redis: { url: redis.url, commandTimeout: "400ms" },
        upstreams: [{ name: "ok", targets: [`http://127.0.0.1:${(upstream.address() as AddressInfo).port}`] }],
        routes: [{ name: "all", match: { pathPrefix: "/" }, permissions: "api.a.read_api", upstream: "ok" }],
        ...change,
      },
    });
    gateways.push(gateway);
    return gateway;
  }

  const isReady = async (gateway: RunningGateway) => (await fetch(`${gateway.adminOrigin}/readyz`)).status === 200;

  function ask(gateway: RunningGateway, key: string): Promise<number> {
    return new Promise((resolve, reject) => {
      const headers = { authorization: `Bearer ${key}` };
      const outgoing = request({ host: "127.0.0.1", port: gateway.port, path: "/x", agent, headers }, (response) => {
        response.resume().on("end", () => resolve(response.statusCode ?? 0));
      });
      outgoing.on("error", reject).end();
    });
  }

  async function sentinel(gateway: RunningGateway, ...args: string[]) {
    const config = join(gateway.folder, "sentinel.yaml");
    const command = ["dist/sentinel.js", "keys", ...args, "-c", config, "--json"];
    try {
      const { stdout, stderr } = await promisify(execFile)(process.execPath, command);
      return { status: 0, said: JSON.parse(stdout || "null"), stderr };
    } catch (error) {
      const { code, stdout, stderr } = error as { code: number; stdout: string; stderr: string };
      return { status: code, said: stdout, stderr };
    }
  }

  async function create(gateway: RunningGateway): Promise<{ keyId: string; key: string }> {
    return (await sentinel(gateway, "create", "--permission", "api.a.read_api")).said;
  }

  it("accept a key just made, refuse it everywhere once `disable --wait` returns, and never show the secret", async () => {
    const [one, two] = [await open(), await open()];
    await until("ready", async () => (await isReady(one)) && (await isReady(two)));
    const { keyId, key } = await create(one);
    await until("accepted", async () => (await ask(one, key)) === 200 && (await ask(two, key)) === 200);
    const { status, said } = await sentinel(one, "disable", keyId, "--wait");
    expect({ status, instances: said.instances, acknowledged: said.acknowledged }).toEqual({
      status: 0,
      instances: 2,
      acknowledged: 2,
    });
    expect([await ask(one, key), await ask(two, key)]).toEqual([403, 403]);
    expect((await sentinel(one, "delete", keyId, "--wait")).status).toBe(0);
    expect([await ask(one, key), await ask(two, key)]).toEqual([401, 401]);
    for (const gateway of [one, two]) expect(gateway.output()).not.toContain(key.slice(6, 14));
    const metrics = await (await fetch(`${one.adminOrigin}/metrics`)).text();
    expect(Number(/sentinel_revocation_lag_seconds_count\S* (\d+)/.exec(metrics)?.[1])).toBeGreaterThanOrEqual(3);
    expect(metrics).toMatch(/sentinel_redis_up\S* 1\n/);
  });

  it("serve known keys while Redis is killed under load, 503 for others, 401 for none, and come back by themselves", async () => {
    const gateway = await open();
    await until("ready", () => isReady(gateway));
    const known = await create(gateway);
    const unknown = await create(gateway);
    expect(await ask(gateway, known.key)).toBe(200);
    const statuses = new Map<number, number>();
    let running = true;
    const load = Array.from({ length: 5 }, async () => {
      while (running) {
        const status = await ask(gateway, known.key);
        statuses.set(status, (statuses.get(status) ?? 0) + 1);
        await new Promise((resolve) => setTimeout(resolve, 8));
      }
    });
    await redis.kill();
    await gateway.waitForRecord((record) => record.msg === "redis_down" || record.event === "redis_down");
    expect(await ask(gateway, unknown.key)).toBe(503);
    const failed = await sentinel(gateway, "disable", known.keyId);
    expect(failed.status).toBe(3);
    await until("long enough", () => (statuses.get(200) ?? 0) > 400);
    expect((await fetch(`${gateway.adminOrigin}/livez`)).status).toBe(200);
    running = false;
    await Promise.all(load);
    expect([...statuses.keys()]).toEqual([200]);
    await redis.restart();
    // The records are gone with it: now, and not before, the key is refused.
    await until("back", async () => (await ask(gateway, unknown.key)) === 401);
    await until("refused", async () => (await ask(gateway, known.key)) === 401);
    const changes = gateway.logs().filter((record) => JSON.stringify(record).includes("redis_down"));
    expect(changes).toHaveLength(1);
  });

  it("start without Redis, are not ready, answer 503, and become ready when it comes", async () => {
    await redis.kill();
    const gateway = await open();
    expect(await isReady(gateway)).toBe(false);
    expect(await ask(gateway, "unkey_123456789012345678901234")).toBe(503);
    await redis.restart();
    await until("ready", () => isReady(gateway));
    expect(await ask(gateway, "unkey_223456789012345678901234")).toBe(401);
  });

  it("do not take a shared copy from before a change that was announced while none of them ran", async () => {
    const key = `unkey_${"c".repeat(20)}`;
    const hash = hashOf(key);
    // It knows nothing any more.
    const service = createServer((_request, response) => response.writeHead(404).end()).listen(0, "127.0.0.1");
    await once(service, "listening");
    const source = { type: "http", url: `http://127.0.0.1:${(service.address() as AddressInfo).port}/lookup` };
    // However busy the machine: neither is the copy too old when the gateway has started, nor Redis too late to be asked.
    const patient = {
      keys: { source, cache: { fresh: "60s" } },
      redis: { url: redis.url, commandTimeout: "5s" },
    };
    try {
      const held = encodeCopy(recordOf("c", { hash }), Date.now());
      redis.cli("SET", `sentinel:key:${hash}`, held, "PX", "120000");
      const before = await open(patient);
      await before.waitForRecord(({ event }) => event === "redis_up");
      expect(await ask(before, key), "the copy is one that is taken").toBe(200);
      await before.stop();
      redis.cli("SET", `sentinel:key:${hash}`, held, "PX", "120000");
      redis.cli("XADD", "sentinel:changes", "*", "op", "forget", "hash", hash, "id", "", "at", String(Date.now()));
      const after = await open(patient);
      await after.waitForRecord(({ event }) => event === "changes_followed");
      await until("refused", async () => (await ask(after, key)) === 401);
      expect(redis.cli("GET", `sentinel:key:${hash}`)).not.toContain("copy");
    } finally {
      service.closeAllConnections();
      service.close();
    }
  });
});
