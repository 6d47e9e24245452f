import { spawnSync } from "node:child_process";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { type RunningGateway, startGateway } from "../support/gateway.ts";
import { describeFailures, Load, NamedUpstream } from "./load.ts";

/** `workers: 2`, end to end: from outside it is one gateway. */
describe("a gateway with two workers", () => {
  let upstream: NamedUpstream;
  let gateway: RunningGateway;
  beforeAll(async () => {
    upstream = await NamedUpstream.start("orders");
    gateway = await startGateway({
      keyring: { keys: [] },
      config: {
        workers: 2,
        upstreams: [{ name: "orders", targets: [upstream.origin] }],
        routes: [{ name: "all", auth: "none", upstream: "orders" }],
      },
      expectedErrors: (record) => record.event === "worker_ended",
    });
  });
  afterAll(async () => {
    if (gateway?.alive) await gateway.stop();
    await upstream?.stop();
  });

  function workers(): number[] {
    const { stdout } = spawnSync("pgrep", ["-P", String(gateway.pid)], { encoding: "utf8" });
    return stdout.split("\n").filter(Boolean).map(Number);
  }

  async function served(): Promise<number> {
    const text = await (await fetch(`${gateway.adminOrigin}/metrics`)).text();
    return Number(/^sentinel_requests_total\{route="all",method="GET",status="200"\} (\d+)$/m.exec(text)?.[1]);
  }

  it("serves from both, and counts for both", async () => {
    expect(workers()).toHaveLength(2);
    const load = new Load({ perSecond: 200, origin: () => gateway.origin });
    await load.more(200);
    await load.stop();
    expect(describeFailures(load.failures)).toEqual([]);
    await vi.waitUntil(async () => (await served()) === load.outcomes.length, { timeout: 5000, interval: 20 });
    const loops = await fetch(gateway.origin, { headers: { via: "1.1 somebody" } });
    expect(loops.status).toBe(200);
  });

  it("is ready, with the configuration's generation", async () => {
    const reply = await fetch(`${gateway.adminOrigin}/readyz`);
    expect(reply.status).toBe(200);
    expect(await reply.json()).toMatchObject({ ready: true, generation: 1, checks: { workers: { ok: true } } });
  });

  it("replaces a worker that is killed, goes on meanwhile, and forgets nothing that was counted", async () => {
    const before = await served();
    const [victim = 0] = workers();
    process.kill(victim, "SIGKILL");
    await gateway.waitForRecord((record) => record.event === "worker_started");
    expect(workers()).toHaveLength(2);
    expect(workers()).not.toContain(victim);
    expect(await (await fetch(gateway.origin)).text()).toBe("orders");
    expect(await served()).toBeGreaterThan(before);
  });

  it("takes up a reload in every worker", async () => {
    gateway.signal("SIGHUP");
    const reloaded = () => gateway.logs().filter((record) => record.event === "config_reloaded").length;
    await vi.waitUntil(() => reloaded() === 2, { timeout: 5000, interval: 10 });
  });

  it("drains both and ends with 0, no worker left", async () => {
    const pids = workers();
    const replies = [1, 2, 3, 4].map(async () => (await fetch(`${gateway.origin}/hold`)).text());
    await vi.waitUntil(() => upstream.holding === 4, { timeout: 5000, interval: 10 });
    gateway.signal("SIGTERM");
    await vi.waitUntil(() => gateway.logs().filter((record) => record.event === "draining").length >= 2, {
      timeout: 5000,
    });
    upstream.release();
    expect(await Promise.all(replies)).toEqual(Array(4).fill("held by orders"));
    expect(await gateway.exited).toBe(0);
    expect(pids.filter(isAlive)).toEqual([]);
  });
});

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}
