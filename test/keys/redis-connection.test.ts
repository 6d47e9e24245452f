import { execFileSync } from "node:child_process";
import dns from "node:dns";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { type AddressInfo, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, it, onTestFinished, vi } from "vitest";
import { connectRedis, describeRedisError, RedisRefusal, type RedisSettings } from "../../src/keys/redis-connection.ts";
import { SourceUnavailable } from "../../src/keys/source.ts";
import { freePort } from "../support/free-port.ts";
import { until } from "../support/key-parts.ts";
import { describeRedis, type Shim, startRedis, startShim, type TestRedis } from "../support/redis.ts";
import { startHalfWatched } from "../support/redis-ha.ts";

const named = (name: string, message: string, code?: string) =>
  Object.assign(new Error(message), { name, ...(code !== undefined && { code }) });

describe("what is said of an error of Redis", () => {
  it.each<[string, unknown, string]>([
    ["a refusal", new RedisRefusal("OOM"), "OOM"],
    ["an outage that has its word", new SourceUnavailable("Redis is out of reach (not connected)"), "not connected"],
    ["an outage without one", new SourceUnavailable("Redis is not ready"), "not connected"],
    ["a reply", named("ReplyError", "WRONGTYPE Operation against sentinel:key:secret"), "WRONGTYPE"],
    ["a reply without a word", named("ReplyError", "unknown command `x`, with args beginning with: secret"), "ERR"],
    ["a server that is not Redis", named("ParserError", "Protocol error, got 'H' (secret)"), "not Redis"],
    [
      "one whose bytes are none of Redis'",
      named("Error", 'Unknown RESP type 72 "H". Please report this.'),
      "not Redis",
    ],
    ["a command time-out", named("Error", "Command timed out"), "timeout"],
    ["a connect time-out", named("Error", "connect ETIMEDOUT"), "timeout"],
    ["a refused connection", named("Error", "connect ECONNREFUSED 127.0.0.1:1", "ECONNREFUSED"), "ECONNREFUSED"],
    [
      "no connection",
      named("Error", "Stream isn't writeable and enableOfflineQueue options is false"),
      "not connected",
    ],
    ["a cluster without nodes", named("ClusterAllFailedError", "Failed to refresh slots cache."), "not connected"],
    ["anything else", named("MaxRetriesPerRequestError", "secret"), "MaxRetriesPerRequestError"],
    ["no error at all", "secret", "unknown"],
  ])("of %s is a word", (_name, error, word) => {
    expect(describeRedisError(error)).toBe(word);
  });
});

type Where = Pick<RedisSettings, "url" | "sentinels" | "cluster">;

/** Names that are not among them are never answered for: they are looked up for good, so each is for one test. */
function resolve(addresses: Readonly<Record<string, string>>) {
  const lookUp = (name: string, _options: unknown, found: (error: null, addresses: unknown) => void) => {
    const address = addresses[name];
    if (address !== undefined) process.nextTick(found, null, [{ address, family: 4 }]);
  };
  return vi.spyOn(dns, "lookup").mockImplementation(lookUp as unknown as typeof dns.lookup);
}

describe("a name that nobody answers for is looked up once for all connections", () => {
  afterEach(() => {
    vi.restoreAllMocks();
  });

  it.each<[string, Where]>([
    ["of Redis", { url: "redis://silent.internal:6379" }],
    ["of Redis' own sentinel", { sentinels: { name: "mymaster", hosts: ["silent-1.internal:26379"], tls: false } }],
    ["of a cluster's node", { cluster: { hosts: ["silent-2.internal:6379"], tls: false } }],
  ])("%s", async (_name, where) => {
    await looksUpOnce(where, {});
  });

  it("of the master that a sentinel tells of", async () => {
    const sentinel = createServer((socket) => {
      // Whatever else it is asked it agrees to.
      socket.on("data", (data) => {
        for (const [, word] of data.toString().matchAll(/\*\d+\r\n\$\d+\r\n(\w+)/g)) {
          const isAsked = word?.toLowerCase() === "sentinel";
          socket.write(isAsked ? "*2\r\n$17\r\nsilent-3.internal\r\n$4\r\n6379\r\n" : "+OK\r\n");
        }
      });
    });
    await once(sentinel.listen(0, "127.0.0.1"), "listening");
    onTestFinished(() => void sentinel.close());
    const { port } = sentinel.address() as AddressInfo;
    const hosts = [`sentinel.internal:${port}`];
    await looksUpOnce({ sentinels: { name: "mymaster", hosts, tls: false } }, { "sentinel.internal": "127.0.0.1" });
  });

  async function looksUpOnce(where: Where, addresses: Readonly<Record<string, string>>) {
    const { mock } = resolve(addresses);
    const states: boolean[] = [];
    const deps = { log: () => {}, mono: () => performance.now(), onUp: (up: boolean) => states.push(up) };
    const settings = { ...where, keyPrefix: "sentinel:", commandTimeout: 50 };
    const connections = await Promise.all([connectRedis(settings, deps), connectRedis(settings, deps)]);
    await until("both have tried in vain", () => states.length === 2);
    const silent = mock.calls.filter(([name]) => name.startsWith("silent"));
    expect(silent).toHaveLength(1);
    for (const connection of connections) await connection.close();
  }
});

describeRedis("a connection", () => {
  it("to a cluster is made by the nodes whose names are found", async () => {
    const ownPorts = ["--cluster-port", String(await freePort()), "--cluster-announce-ip", "127.0.0.1"];
    const node = await startRedis(["--cluster-enabled", "yes", ...ownPorts]);
    onTestFinished(() => node.close());
    node.cli("CLUSTER", "ADDSLOTSRANGE", "0", "16383");
    await until("it serves", () => node.cli("CLUSTER", "INFO").includes("cluster_state:ok"));
    resolve({ "found.internal": "127.0.0.1" });
    onTestFinished(() => void vi.restoreAllMocks());
    const hosts = ["silent-4.internal", "found.internal", "silent-5.internal"].map((name) => `${name}:${node.port}`);
    const where = { cluster: { hosts, tls: false } };
    const redis = await connectRedis({ ...where, keyPrefix: "", commandTimeout: 500 }, deps);
    expect(await redis.whenUp(10_000)).toBe(true);
    expect(await redis.call("SET", "a", "1")).toBe("OK");
    await redis.close();
  });

  it("by Redis' own sentinels tells once of one that is away, and when it is back, and prints nothing", async () => {
    const printed = vi.spyOn(console, "error").mockImplementation(() => {});
    onTestFinished(() => void printed.mockRestore());
    const watched = await startHalfWatched();
    onTestFinished(() => watched.close());
    const { hosts } = watched;
    const told: string[] = [];
    const log = (level: string, event: string, fields: object) =>
      void told.push(`${level} ${event} ${JSON.stringify(fields)}`);
    const sentinels = { name: "mymaster", hosts, tls: false };
    const redis = await connectRedis({ sentinels, keyPrefix: "", commandTimeout: 5000 }, { ...deps, log });
    onTestFinished(() => redis.close());
    const away = `warn redis_sentinel_down {"sentinel":"${hosts[1]}","reason":"ECONNREFUSED"}`;
    await until("told that it is away", () => told.includes(away));
    expect(await redis.whenUp(10_000)).toBe(true);

    await watched.startSecond();
    redis.reconnect();
    await until("told that it is back", () => told.includes(`info redis_sentinel_up {"sentinel":"${hosts[1]}"}`));
    expect(told.filter((line) => line === away)).toHaveLength(1);
    expect(printed).not.toHaveBeenCalled();
  });

  let server: TestRedis;
  let shim: Shim;
  const lines: string[] = [];
  const deps = {
    log: (_level: string, event: string, fields: object) => void lines.push(`${event} ${JSON.stringify(fields)}`),
    mono: () => performance.now(),
  };
  beforeAll(async () => {
    server = await startRedis(["--requirepass", "hunter2"]);
    shim = await startShim(server.port);
  });
  afterAll(async () => {
    await shim.close();
    await server.close();
  });
  const url = (password: string) => `redis://:${password}@127.0.0.1:${shim.port}/3`;

  it("keeps nothing while Redis is away: 10,000 commands are refused at once, and nothing is sent later", async () => {
    const redis = await connectRedis({ url: url("hunter2"), keyPrefix: "", commandTimeout: 300 }, deps);
    expect(await redis.whenUp(5000)).toBe(true);
    shim.set({ kind: "refuse" });
    shim.cut();
    await until("down", () => !redis.isUp);
    const startedAt = performance.now();
    const all = await Promise.allSettled(Array.from({ length: 10_000 }, () => redis.call("INCR", "counter")));
    expect(all.every((result) => result.status === "rejected")).toBe(true);
    expect(performance.now() - startedAt).toBeLessThan(8000);
    shim.set({ kind: "none" });
    await until("up", () => redis.isUp);
    expect(await redis.call("GET", "counter")).toBeNull();
    await redis.close();
  });

  it("does not take one answer for another after a freeze", async () => {
    const redis = await connectRedis({ url: url("hunter2"), keyPrefix: "", commandTimeout: 200 }, deps);
    await redis.whenUp(5000);
    for (let index = 0; index < 20; index += 1) await redis.call("SET", `k${index}`, `v${index}`);
    server.freeze();
    await Promise.allSettled(Array.from({ length: 20 }, (_, index) => redis.call("GET", `k${index}`)));
    server.thaw();
    await until("up", () => redis.isUp);
    for (let index = 0; index < 20; index += 1) {
      expect(await redis.call("GET", `k${index}`).catch(() => `v${index}`)).toBe(`v${index}`);
    }
    await redis.close();
  });

  it("answers a pipeline in order, with a refusal in the place of each command that failed", async () => {
    const redis = await connectRedis({ url: url("hunter2"), keyPrefix: "", commandTimeout: 500 }, deps);
    await redis.whenUp(5000);
    const answers = await redis.pipeline([
      ["SET", "a", "1"],
      ["LPUSH", "a", "x"],
      ["GET", "a"],
    ]);
    expect(answers[0]).toBe("OK");
    expect(answers[1]).toMatchObject({ code: "WRONGTYPE" });
    expect(answers[2]).toBe("1");
    await expect(redis.masters()[0]?.call("LPUSH", "a", "x")).rejects.toMatchObject({ code: "WRONGTYPE" });
    shim.cut();
    await until("down", () => !redis.isUp);
    await expect(redis.pipeline([["GET", "a"]])).rejects.toBeInstanceOf(SourceUnavailable);
    await redis.close();
  });

  it("refuses a certificate nobody vouches for, and never falls back to plain", async () => {
    const dir = mkdtempSync(join(tmpdir(), "sentinel-tls-"));
    const [key, cert] = [join(dir, "key.pem"), join(dir, "cert.pem")];
    const subject = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "1"];
    const made = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", ...subject];
    execFileSync("openssl", [...made, "-keyout", key, "-out", cert], { stdio: "ignore" });
    const port = await freePort();
    const options = [
      "--tls-port",
      String(port),
      "--tls-cert-file",
      cert,
      "--tls-key-file",
      key,
      "--tls-auth-clients",
      "no",
    ];
    const secure = await startRedis(options);
    for (const target of [port, secure.port]) {
      const before = lines.length;
      const settings = { url: `rediss://127.0.0.1:${target}`, keyPrefix: "", commandTimeout: 300 };
      const redis = await connectRedis(settings, deps);
      expect(await redis.whenUp(1000)).toBe(false);
      await expect(redis.call("PING")).rejects.toBeInstanceOf(SourceUnavailable);
      await redis.close();
      if (target === port) expect(lines.slice(before).join()).toContain("DEPTH_ZERO_SELF_SIGNED_CERT");
    }
    expect(secure.cli("INFO", "commandstats")).not.toContain("cmdstat_ping");
    await secure.close();
    rmSync(dir, { recursive: true });
  });

  it.each([
    ["sentinels", async () => ({ sentinels: { name: "m", hosts: [`127.0.0.1:${await freePort()}`], tls: true } })],
    [
      "cluster nodes",
      async () => ({
        cluster: { hosts: [`[::1]:${await freePort()}`], tls: true, username: "u", password: "hunter2" },
      }),
    ],
  ])("to %s that are not there is down, and closes", async (_name, where) => {
    const redis = await connectRedis({ ...(await where()), keyPrefix: "", commandTimeout: 200 }, deps);
    expect(await redis.whenUp(1200)).toBe(false);
    await expect(redis.call("GET", "a")).rejects.toBeInstanceOf(SourceUnavailable);
    expect(redis.isUp).toBe(false);
    await redis.close();
  });

  it("never logs the password", () => {
    expect(lines.length).toBeGreaterThan(2);
    expect(lines.join("\n")).not.toContain("hunter2");
  });
});
