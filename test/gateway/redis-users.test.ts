import { once } from "node:events";
import { readFileSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { stringify } from "yaml";
import { runCommand } from "../cli/support.ts";
import { type RunningGateway, startGateway } from "../support/gateway.ts";
import { hashOf, until } from "../support/key-parts.ts";
import { cli, describeRedis, startRedis } from "../support/redis.ts";
import { startCluster } from "../support/redis-ha.ts";

const PAGE = readFileSync(new URL("../../docs/operations.md", import.meta.url), "utf8");

/** The rules as the page gives them: what operators copy is what is tried. */
function ruleOf(user: string, isCluster: boolean): string[] {
  const rule = new RegExp(`ACL SETUSER ${user} ([^\`]*)\`\`\``).exec(PAGE)?.[1] ?? "";
  const more = /A cluster needs `([^`]*)`/.exec(PAGE)?.[1] ?? "";
  return `${rule.trim()} ${isCluster ? more : ""}`.trim().split(/\s+/);
}

interface Place {
  readonly ports: readonly number[];
  readonly isCluster: boolean;
  close(): Promise<void>;
}

async function startAlone(): Promise<Place> {
  const redis = await startRedis();
  return { ports: [redis.port], isCluster: false, close: () => redis.close() };
}

async function startThree(): Promise<Place> {
  const nodes = await startCluster();
  return {
    ports: nodes.hosts.map((host) => Number(host.split(":")[1])),
    isCluster: true,
    close: () => nodes.close(),
  };
}

const KEYRING = (permission: string) =>
  stringify({
    workspaces: [{ id: "ws_acme", enabled: true }],
    roles: [{ name: "reader", permissions: [permission] }],
    keys: Array.from({ length: 30 }, (_, index) => ({
      id: `key_${index}`,
      hash: hashOf(`unkey_${"x".repeat(20)}${index}`),
      workspaceId: "ws_acme",
      roles: ["reader"],
    })),
  });

/** Gateways and the command line, as users that may do what docs/operations.md says and nothing else. */
describeRedis("the Redis users of docs/operations.md", { timeout: 90_000 }, () => {
  let upstream: Server;
  const closers: (() => Promise<void>)[] = [];

  beforeEach(async () => {
    upstream = createServer((_request, response) => response.end("ok")).listen(0, "127.0.0.1");
    await once(upstream, "listening");
    closers.push(async () => {
      upstream.closeAllConnections();
      upstream.close();
    });
  });
  afterEach(async () => {
    for (const close of closers.splice(0).reverse()) await close();
  });

  function configAs(user: string, place: Place): Record<string, unknown> {
    const hosts = place.ports.map((port) => `127.0.0.1:${port}`);
    const where = place.isCluster
      ? { cluster: { hosts, username: user, password: "PASSWORD" } }
      : { url: `redis://${user}:PASSWORD@${hosts[0]}` };
    return {
      keys: { source: { type: "redis" }, cache: { fresh: "500ms", missing: "100ms" } },
      redis: { ...where, commandTimeout: "2s" },
      upstreams: [{ name: "ok", targets: [`http://127.0.0.1:${(upstream.address() as AddressInfo).port}`] }],
      routes: [{ name: "all", match: { pathPrefix: "/" }, permissions: "api.a.read_api", upstream: "ok" }],
    };
  }

  async function open(start: () => Promise<Place>) {
    const place = await start();
    closers.push(() => place.close());
    for (const user of ["sentinel-gateway", "sentinel-keys"]) {
      for (const port of place.ports)
        expect(cli(port, "ACL", "SETUSER", user, ...ruleOf(user, place.isCluster))).toBe("OK");
    }
    const gateway = await startGateway({ config: configAs("sentinel-gateway", place) });
    closers.push(() => gateway.stop());
    await until("ready", async () => (await fetch(`${gateway.adminOrigin}/readyz`)).status === 200);
    return { place, gateway };
  }

  function commandsAs(user: string, place: Place, { folder }: RunningGateway) {
    const config = join(folder, `${user}.yaml`);
    writeFileSync(config, stringify(configAs(user, place)));
    return async (...args: string[]) => {
      const { status, out, err } = await runCommand(["keys", ...args, "-c", config, "--json"]);
      return { status, said: status === 0 ? JSON.parse(out) : out, stderr: err };
    };
  }

  const ask = async ({ origin }: RunningGateway, key: string) =>
    (await fetch(`${origin}/x`, { headers: { authorization: `Bearer ${key}` } })).status;

  it.each<[string, () => Promise<Place>]>([
    ["one Redis", startAlone],
    ["a cluster", startThree],
  ])("have all the rights they need in %s: every command, and a gateway that acts on it", async (_name, start) => {
    const { place, gateway } = await open(start);
    const keys = commandsAs("sentinel-keys", place, gateway);
    const file = join(gateway.folder, "import.yaml");
    writeFileSync(file, KEYRING("api.a.list_apis"));
    expect(await keys("import", file)).toMatchObject({ status: 0, said: { created: 30, updated: 0 } });
    const made = await keys("create", "--role", "reader", "--workspace", "ws_acme");
    const { keyId, key } = made.said as { keyId: string; key: string };
    await until("known, and not allowed", async () => (await ask(gateway, key)) === 403);
    writeFileSync(file, KEYRING("api.a.read_api"));
    expect(await keys("import", file)).toMatchObject({ status: 0, said: { created: 0, updated: 30 } });
    await until("its role means more now", async () => (await ask(gateway, key)) === 200);
    expect((await keys("list")).said).toHaveLength(31);
    expect((await keys("get", keyId)).said).toMatchObject({ roles: ["reader"] });
    expect((await keys("verify", key)).said).toMatchObject({ valid: true, permissions: ["api.a.read_api"] });
    expect(await keys("update", keyId, "--name", "CI", "--expires", "1h")).toMatchObject({ status: 0 });
    const acted = { instances: 1, acknowledged: 1 };
    expect((await keys("disable", keyId, "--wait")).said).toMatchObject(acted);
    expect(await ask(gateway, key)).toBe(403);
    expect((await keys("enable", keyId)).status).toBe(0);
    await until("enabled", async () => (await ask(gateway, key)) === 200);
    const next = (await keys("reroll", keyId, "--grace", "1m", "--wait")).said as { keyId: string; key: string };
    expect(next).toMatchObject(acted);
    expect(await keys("update", keyId, "--clear", "expires")).toMatchObject({ status: 0 });
    expect([await ask(gateway, key), await ask(gateway, next.key)]).toEqual([200, 200]);
    expect((await keys("forget", keyId)).status).toBe(0);
    expect((await keys("delete", keyId, "--wait")).said).toMatchObject(acted);
    expect([await ask(gateway, key), await ask(gateway, next.key)]).toEqual([401, 200]);
    expect((await keys("get", keyId)).status).toBe(1);
    for (const port of place.ports) {
      // Nothing was refused to anybody while all of that was done.
      const refused = cli(port, "ACL", "LOG");
      expect(refused === "" ? "" : refused).toBe("");
    }
  });

  it.each<[string, () => Promise<Place>]>([
    ["one Redis", startAlone],
    ["a cluster", startThree],
  ])("say what they may not in %s, and change nothing by it", async (_name, start) => {
    const { place, gateway } = await open(start);
    const { keyId, key } = (
      await commandsAs("sentinel-keys", place, gateway)("create", "--permission", "api.a.read_api")
    ).said as { keyId: string; key: string };
    await until("accepted", async () => (await ask(gateway, key)) === 200);
    const file = join(gateway.folder, "import.yaml");
    writeFileSync(file, KEYRING("api.a.read_api"));
    const asGateway = commandsAs("sentinel-gateway", place, gateway);
    for (const [command, ...args] of [
      ["create"],
      ["get", keyId],
      ["list"],
      ["update", keyId, "--name", "x"],
      ["disable", keyId],
      ["enable", keyId],
      ["reroll", keyId],
      ["delete", keyId],
      ["import", file],
      ["forget", keyId],
    ] as const) {
      const { status, said, stderr } = await asGateway(command, ...args);
      expect({ command, status, said, stderr }).toEqual({
        command,
        status: 3,
        said: "",
        stderr: expect.stringMatching(/^This Redis user may not run [A-Z]+, or not on that key \(NOPERM\)[^\n]*\.\n$/),
      });
    }
    // To look a key up is what a gateway does: it may.
    expect(await asGateway("verify", key)).toMatchObject({ status: 0, said: { valid: true } });
    expect(await ask(gateway, key)).toBe(200);
  });
});
