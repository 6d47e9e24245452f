import { readFileSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { type RunningGateway, startGateway } from "../support/gateway.ts";
import { RawClient } from "../support/raw-client.ts";
import { describeFailures, Load, NamedUpstream } from "./load.ts";

let upstream: NamedUpstream;
beforeAll(async () => {
  upstream = await NamedUpstream.start("orders");
});
afterAll(() => upstream.stop());

const TLS = { cert: { file: "tls.crt" }, key: { file: "tls.key" } };

function launch(
  drain: { delay: string; timeout: string },
  more: Record<string, unknown> = {},
): Promise<RunningGateway> {
  return startGateway({
    keyring: { keys: [] },
    files: { "tls.crt": fixture("upstream.crt"), "tls.key": fixture("upstream.key") },
    config: {
      drain,
      log: { level: "info", sampleSuccess: 0 },
      upstreams: [{ name: "orders", targets: [upstream.origin] }],
      routes: [{ name: "all", auth: "none", upstream: "orders" }],
      ...more,
    },
  });
}

function fixture(name: string): string {
  return readFileSync(`test/forward/fixtures/${name}`, "utf8");
}

async function readiness({ adminOrigin }: RunningGateway): Promise<number> {
  try {
    return (await fetch(`${adminOrigin}/readyz`)).status;
  } catch {
    return 0;
  }
}

/** A balancer as dumb as they come: round robin over those whose /readyz said 200 when last asked. */
class Balancer {
  readonly #ready = new Map<RunningGateway, boolean>();
  readonly #timer: NodeJS.Timeout;
  #next = 0;

  constructor() {
    this.#timer = setInterval(() => void this.#probe(), 100);
  }

  async add(gateway: RunningGateway): Promise<void> {
    this.#ready.set(gateway, (await readiness(gateway)) === 200);
  }

  remove(gateway: RunningGateway): void {
    this.#ready.delete(gateway);
  }

  pick(): string | null {
    const ready = [...this.#ready].filter(([, ok]) => ok).map(([gateway]) => gateway);
    return ready[this.#next++ % ready.length]?.origin ?? null;
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  async #probe(): Promise<void> {
    for (const gateway of [...this.#ready.keys()]) {
      const ok = (await readiness(gateway)) === 200;
      if (this.#ready.has(gateway)) this.#ready.set(gateway, ok);
    }
  }
}

describe("SIGTERM", () => {
  it("under 500 requests a second loses none: readiness goes first, every answer says close, exit 0 in time", async () => {
    const gateway = await launch({ delay: "3s", timeout: "20s" });
    // A balancer that learns late that the gateway is not ready.
    let told = false;
    const load = new Load({ perSecond: 500, origin: () => (told ? null : gateway.origin) });
    const halfOpen = openHalf(gateway.port);
    await load.more(500);

    gateway.signal("SIGTERM");
    const signalledAt = performance.now();
    await vi.waitUntil(async () => (await readiness(gateway)) === 503, { timeout: 2500, interval: 10 });
    const notReadyAt = performance.now();
    await vi.waitUntil(() => load.outcomes.filter(({ sentAt }) => sentAt > notReadyAt).length > 20, { timeout: 2500 });
    told = true;
    const code = await gateway.exited;
    const tookMs = performance.now() - signalledAt;
    await load.stop();
    for (const socket of halfOpen) socket.destroy();

    const after = load.outcomes.filter(({ sentAt }) => sentAt > notReadyAt);
    const figures = `${load.outcomes.length} requests, ${after.length} of them after /readyz said 503`;
    console.info(`drain: ${figures}, ${load.failures.length} lost, exit in ${Math.round(tookMs)} ms`);
    expect(describeFailures(load.failures)).toEqual([]);
    expect(new Set(after.map(({ connection }) => connection))).toEqual(new Set(["close"]));
    expect(code).toBe(0);
    expect(tookMs).toBeGreaterThan(3000);
    expect(tookMs).toBeLessThan(15_000);
  });

  it("lets a request that runs finish", async () => {
    const gateway = await launch({ delay: "0ms", timeout: "10s" });
    const reply = fetch(`${gateway.origin}/hold`).then((answer) => answer.text());
    await upstream.held();
    gateway.signal("SIGTERM");
    await gateway.waitForRecord((record) => record.event === "draining");
    await vi.waitUntil(() => refused(gateway.port), { timeout: 5000, interval: 20 });
    upstream.release();
    expect(await reply).toBe("held by orders");
    expect(await gateway.exited).toBe(0);
  });

  it("asks no client for another request, not even with the answer to one that began before", async () => {
    const gateway = await launch({ delay: "0ms", timeout: "30s" });
    const began = performance.now();
    const reply = fetch(`${gateway.origin}/hold`);
    await upstream.held();
    gateway.signal("SIGTERM");
    await vi.waitUntil(() => refused(gateway.port), { timeout: 5000, interval: 20 });
    upstream.release();
    expect((await reply).headers.get("connection")).toBe("close");
    expect(await (await reply).text()).toBe("held by orders");
    expect(await gateway.exited).toBe(0);
    expect(performance.now() - began).toBeLessThan(20_000);
  });

  it("ends what does not finish in drain.timeout, says so, and still exits with 0", async () => {
    const gateway = await launch({ delay: "0ms", timeout: "300ms" });
    const reply = fetch(`${gateway.origin}/hold`).then((answer) => answer.text());
    const lost = expect(reply).rejects.toThrow();
    await upstream.held();
    gateway.signal("SIGTERM");
    expect(await gateway.exited).toBe(0);
    await lost;
    upstream.release();
    expect(gateway.logs().some((record) => record.event === "drain_cut")).toBe(true);
  });

  it("records each of those that it cuts, however few or many", async () => {
    for (const count of [1, 40]) {
      const gateway = await launch({ delay: "0ms", timeout: "300ms" });
      const clients = await Promise.all(Array.from({ length: count }, () => RawClient.connect(gateway.port)));
      for (const client of clients) await client.write("GET /hold HTTP/1.1\r\nHost: gw\r\n\r\n");
      await vi.waitUntil(() => upstream.holding === count, { timeout: 5000, interval: 5 });
      gateway.signal("SIGTERM");
      expect(await gateway.exited).toBe(0);
      upstream.release();
      const statuses = gateway.logs().flatMap(({ path, status }) => (path === "/hold" ? [status] : []));
      expect(statuses).toEqual(Array(count).fill(499));
    }
  });

  it("does not wait for a TLS handshake that nobody goes on with", async () => {
    const gateway = await launch({ delay: "0ms", timeout: "30s" }, { tls: TLS, limits: { headerTimeout: "60s" } });
    const before = gateway.sockets();
    const [silent, begun] = [connect(gateway.port, "127.0.0.1"), connect(gateway.port, "127.0.0.1")];
    for (const socket of [silent, begun]) socket.on("error", () => {});
    // The first bytes of a ClientHello.
    begun.write(Buffer.from([0x16, 0x03, 0x01, 0x02, 0x00]));
    await vi.waitUntil(() => gateway.sockets() === before + 2, { timeout: 5000, interval: 20 });
    // It is killed, and this rejects, where that takes longer than half of drain.timeout.
    await gateway.stop();
  });

  it("twice ends at once", async () => {
    const gateway = await launch({ delay: "30s", timeout: "30s" });
    gateway.signal("SIGTERM");
    await gateway.waitForRecord((record) => record.event === "draining");
    gateway.signal("SIGTERM");
    expect(await gateway.exited).not.toBeNull();
  });
});

describe("a rolling restart", () => {
  it("of three instances behind a round robin loses no request", async () => {
    const balancer = new Balancer();
    const drain = { delay: "2s", timeout: "20s" };
    let instances: readonly RunningGateway[] = await Promise.all([launch(drain), launch(drain), launch(drain)]);
    for (const instance of instances) await balancer.add(instance);
    const load = new Load({ perSecond: 250, origin: () => balancer.pick() });
    await load.more(200);
    for (const old of instances) {
      const next = await launch(drain);
      await balancer.add(next);
      old.signal("SIGTERM");
      expect(await old.exited).toBe(0);
      balancer.remove(old);
      instances = [...instances.slice(1), next];
      await load.more(200);
    }
    await load.stop();
    balancer.stop();
    console.info(
      `rolling restart: ${load.outcomes.length} requests (${load.perSecond}/s), ${load.failures.length} lost`,
    );
    expect(describeFailures(load.failures)).toEqual([]);
    expect(load.outcomes.length).toBeGreaterThan(600);
    await Promise.all(instances.map((instance) => instance.stop()));
  }, 90_000);
});

/** Connections that say nothing, and some that stop in the middle of a header. */
function openHalf(port: number): Socket[] {
  return Array.from({ length: 20 }, (_, at) => {
    const socket = connect(port, "127.0.0.1");
    socket.on("error", () => {});
    if (at % 2 === 0) socket.write("GET / HTTP/1.1\r\nHost: x\r\nX-Half");
    return socket;
  });
}

async function refused(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1");
    socket.once("connect", () => {
      socket.destroy();
      resolve(false);
    });
    socket.once("error", () => resolve(true));
  });
}
