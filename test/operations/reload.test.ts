import { readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { stringify } from "yaml";
import { type RunningGateway, startGateway } from "../support/gateway.ts";
import { keyringKey } from "../support/keyring.ts";
import { describeFailures, Load, NamedUpstream } from "./load.ts";

let a: NamedUpstream;
let b: NamedUpstream;
beforeAll(async () => {
  [a, b] = await Promise.all([NamedUpstream.start("a"), NamedUpstream.start("b")]);
});
afterAll(async () => {
  await Promise.all([a.stop(), b.stop()]);
});

function configOf(upstream: NamedUpstream, name: string, change: Record<string, unknown> = {}): string {
  return stringify({
    listen: "127.0.0.1:0",
    admin: { listen: "127.0.0.1:0" },
    drain: { delay: "0ms", timeout: "2s" },
    log: { level: "info", sampleSuccess: 0 },
    keys: { source: { type: "file", path: "./keys.yaml" } },
    upstreams: [{ name, targets: [upstream.origin] }],
    routes: [{ name: "all", auth: "none", upstream: name }],
    ...change,
  });
}

async function withGateway(test: (gateway: RunningGateway) => Promise<void>): Promise<void> {
  const gateway = await startGateway({
    config: configOf(a, "a"),
    keyring: { keys: [] },
    expectedErrors: (record) => record.event === "config_refused",
  });
  try {
    await test(gateway);
  } finally {
    await gateway.stop();
  }
}

/** As `mv` does it: the file is whole at every moment. */
function replace(gateway: RunningGateway, text: string | Buffer, name = "sentinel.yaml"): void {
  const path = join(gateway.folder, name);
  writeFileSync(`${path}.new`, text);
  renameSync(`${path}.new`, path);
}

async function metric({ adminOrigin }: RunningGateway, series: string): Promise<number> {
  const text = await (await fetch(`${adminOrigin}/metrics`)).text();
  const line = text.split("\n").find((candidate) => candidate.startsWith(`${series} `));
  return Number(line?.slice(series.length + 1) ?? Number.NaN);
}

function generation(gateway: RunningGateway, reached: number): Promise<unknown> {
  return gateway.waitForRecord(({ event, generation }) => event === "config_reloaded" && generation === reached);
}

describe("a changed configuration", () => {
  it("is taken up a hundred times under load without a failed request, and closes the pools of what it removes", async () => {
    await withGateway(async (gateway) => {
      const load = new Load({ perSecond: 500, origin: () => gateway.origin });
      await load.more(100);
      for (let swap = 1; swap <= 100; swap++) {
        const [upstream, name] = swap % 2 === 1 ? ([b, "b"] as const) : ([a, "a"] as const);
        replace(gateway, configOf(upstream, name));
        gateway.signal("SIGHUP");
        await vi.waitUntil(async () => (await metric(gateway, "sentinel_config_generation")) > swap, {
          interval: 5,
          timeout: 5000,
        });
      }
      await load.more(100);
      await load.stop();
      console.info(
        `reload: ${load.outcomes.length} requests (${load.perSecond}/s) over 100 swaps, ${load.failures.length} failed`,
      );
      expect(describeFailures(load.failures)).toEqual([]);
      expect(new Set(load.outcomes.map(({ body }) => body))).toEqual(new Set(["a", "b"]));
      expect(await (await fetch(gateway.origin)).text()).toBe("a");
      await vi.waitUntil(() => b.connections === 0, { timeout: 5000, interval: 20 });
      const requests = await metric(gateway, 'sentinel_requests_total{route="all",method="GET",status="200"}');
      expect(requests).toBe(load.outcomes.length + 1);
    });
  });

  it("does not touch a request that runs: it ends with the upstream that it began with", async () => {
    await withGateway(async (gateway) => {
      const reply = fetch(`${gateway.origin}/hold`).then((answer) => answer.text());
      await a.held();
      replace(gateway, configOf(b, "b"));
      await generation(gateway, 2);
      expect(await (await fetch(gateway.origin)).text()).toBe("b");
      a.release();
      expect(await reply).toBe("held by a");
    });
  });

  it("that is wrong leaves the old one in force, with a metric and the place of the mistake", async () => {
    await withGateway(async (gateway) => {
      replace(gateway, `${configOf(b, "b")}lisen: 1\n`);
      const refusal = await gateway.waitForRecord((record) => record.event === "config_refused");
      const lines = readFileSync(join(gateway.folder, "sentinel.yaml"), "utf8").split("\n");
      expect(refusal.problems).toContain(`sentinel.yaml:${lines.indexOf("lisen: 1") + 1}:1`);
      expect(await (await fetch(gateway.origin)).text()).toBe("a");
      expect(await metric(gateway, 'sentinel_config_reloads_total{outcome="failure"}')).toBe(1);
      expect(await metric(gateway, "sentinel_config_last_reload_successful")).toBe(0);
      expect((await fetch(`${gateway.adminOrigin}/readyz`)).status).toBe(200);
      expect(await (await fetch(`${gateway.adminOrigin}/`)).text()).toContain("the last good one stays");
      replace(gateway, configOf(b, "b"));
      await generation(gateway, 2);
      expect(await metric(gateway, "sentinel_config_last_reload_successful")).toBe(1);
    });
  });

  it("says which members only a restart takes up", async () => {
    await withGateway(async (gateway) => {
      replace(gateway, configOf(b, "b", { listen: "127.0.0.1:1", workers: 2 }));
      const said = await gateway.waitForRecord((record) => record.event === "config_needs_restart");
      expect(said.members).toBe("listen, workers");
      expect(await (await fetch(gateway.origin)).text()).toBe("b");
      expect(await (await fetch(`${gateway.adminOrigin}/`)).text()).toContain("Needs a restart: <code>listen</code>");
    });
  });
});

describe("a changed keyring", () => {
  const KEY = "unkey_3ZcPqW8uYt5RmX2nB7vK4jL9";
  const headers = { authorization: `Bearer ${KEY}` };

  it.each([
    ["has a mistake", (gateway: RunningGateway) => replace(gateway, "keys: [{ id: key_a }]", "keys.yaml")],
    ["is not UTF-8", (gateway: RunningGateway) => replace(gateway, Buffer.from([0x23, 0xff]), "keys.yaml")],
    ["is gone", ({ folder }: RunningGateway) => rmSync(join(folder, "keys.yaml"))],
  ])("that %s leaves the last good one in force, and is told of", async (_, spoil) => {
    const gateway = await startGateway({
      config: configOf(a, "a", { routes: [{ name: "all", upstream: "a" }] }),
      keyring: { keys: [keyringKey("key_a", KEY)] },
      expectedErrors: (record) => record.event === "config_refused",
    });
    try {
      spoil(gateway);
      gateway.signal("SIGHUP");
      const refusal = await gateway.waitForRecord((record) => record.event === "config_refused");
      expect(refusal.problems).toContain("keys.yaml:1:");
      expect((await fetch(gateway.origin, { headers })).status).toBe(200);
      replace(gateway, "keys: []", "keys.yaml");
      gateway.signal("SIGHUP");
      await generation(gateway, 2);
      expect((await fetch(gateway.origin, { headers })).status).toBe(401);
    } finally {
      await gateway.stop();
    }
  });

  it("that the configuration no longer names is in force until the restart: what is taken out of it is revoked", async () => {
    const routes = [{ name: "all", upstream: "a" }];
    const gateway = await startGateway({
      config: configOf(a, "a", { routes }),
      keyring: { keys: [keyringKey("key_a", KEY)] },
      expectedErrors: (record) => record.event === "keyring_refused",
    });
    try {
      replace(gateway, stringify({ keys: [keyringKey("key_b", KEY)] }), "next.yaml");
      replace(gateway, configOf(a, "a", { routes, keys: { source: { type: "file", path: "./next.yaml" } } }));
      await gateway.waitForRecord((record) => record.event === "config_needs_restart");
      replace(gateway, "keys: [{ id: key_a }]", "keys.yaml");
      const refusal = await gateway.waitForRecord((record) => record.event === "keyring_refused");
      expect(refusal.problems).toContain("keys.yaml:1:");
      expect((await fetch(gateway.origin, { headers })).status).toBe(200);
      replace(gateway, "keys: []", "keys.yaml");
      await generation(gateway, 4);
      expect((await fetch(gateway.origin, { headers })).status).toBe(401);
    } finally {
      await gateway.stop();
    }
  });
});
