import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it, vi } from "vitest";
import { type RunningGateway, startGateway } from "../support/gateway.ts";
import { RawClient } from "../support/raw-client.ts";
import { RIG_KEYRING, rigRoutes } from "../support/rig.ts";
import { PATIENCE_MS, SOAK_KINDS, type SoakKind } from "../support/soak-requests.ts";
import { SoakUpstream } from "../support/soak-upstream.ts";

/** By hand, for as long as one likes: `npm run soak -- --minutes 60`. */
const MINUTES = Number(process.env.SOAK_MINUTES ?? 0);
const REQUESTS = Number(process.env.SOAK_REQUESTS ?? 12_000);
const CLIENTS = 40;
const SAMPLES = 10;
const MIB = 1024 * 1024;

/** The gateway at rest: what it holds when nobody asks for anything. */
interface Sample {
  readonly requests: number;
  readonly rssMib: number;
  readonly heapMib: number;
  /** Buffers, for the greater part. */
  readonly externalMib: number;
  readonly descriptors: number;
  /** More than before the first request, and beyond the pool's, whose other ends the upstream counts. */
  readonly sockets: number;
  readonly inFlight: number;
}

function metric(text: string, name: string): number {
  return Number(new RegExp(`^${name}(?:\\{[^}]*\\})? (\\S+)$`, "m").exec(text)?.[1] ?? Number.NaN);
}

async function scrape({ adminOrigin }: RunningGateway): Promise<string> {
  return (await fetch(`${adminOrigin}/metrics`, { headers: { connection: "close" } })).text();
}

async function sample(
  gateway: RunningGateway,
  upstream: SoakUpstream,
  idle: number,
  requests: number,
): Promise<Sample> {
  const sockets = () => gateway.sockets() - upstream.openConnections - idle;
  // What is still there after that shows in the figures.
  await vi.waitUntil(() => sockets() === 0, { timeout: PATIENCE_MS, interval: 20 }).catch(() => {});
  const left = sockets();
  const descriptors = readdirSync(`/proc/${gateway.pid}/fd`).length - upstream.openConnections;
  gateway.signal("SIGUSR2"); // Collects what is garbage, at the latest before the second of these is answered.
  await scrape(gateway);
  const text = await scrape(gateway);
  const mib = (name: string) => Math.round((10 * metric(text, name)) / MIB) / 10;
  return {
    requests,
    rssMib: Math.round(gateway.rssBytes() / MIB),
    heapMib: mib("nodejs_heap_size_used_bytes"),
    externalMib: mib("nodejs_external_memory_bytes"),
    descriptors,
    sockets: left,
    inFlight: metric(text, "sentinel_requests_in_flight"),
  };
}

/** What is logged of each request would be kept here for ever; that it is written is asked elsewhere. */
async function logNoRequests(gateway: RunningGateway): Promise<void> {
  const path = join(gateway.folder, "sentinel.yaml");
  writeFileSync(path, readFileSync(path, "utf8").replace("level: info", "level: error"));
  gateway.signal("SIGHUP");
  const generation = async () => metric(await scrape(gateway), "sentinel_config_generation");
  await vi.waitUntil(async () => (await generation()) >= 2, { timeout: PATIENCE_MS, interval: 20 });
}

/** Does one thing; what came of it, in words, where it is not what should have. */
async function run(kind: SoakKind, port: number): Promise<string | null> {
  const client = await RawClient.connect(port);
  try {
    const sending = typeof kind.send === "string" ? client.write(kind.send) : kind.send(client);
    // What drives the client itself is done with it before its answer is looked at.
    if (typeof kind.send !== "string") await sending;
    const statuses: (number | null)[] = [];
    for (const [index] of kind.expect.entries()) {
      statuses.push((await client.answer(kind.methods?.[index], PATIENCE_MS))?.status ?? null);
    }
    await sending;
    if (statuses.join() === kind.expect.join()) return null;
    return `${kind.name}: ${JSON.stringify(statuses)}, not ${JSON.stringify(kind.expect)}`;
  } catch (error) {
    return `${kind.name}: ${error instanceof Error ? error.message : error}`;
  } finally {
    client.destroy();
  }
}

it(
  "193 everything at once, again and again, leaves memory, descriptors and sockets as they were",
  async () => {
    const upstream = await SoakUpstream.start();
    const gateway = await startGateway({
      keyring: RIG_KEYRING,
      config: {
        log: { level: "info" },
        upstreams: [{ name: "recorder", targets: [upstream.origin] }],
        routes: rigRoutes(),
      },
      nodeOptions: ["--expose-gc", "--import", 'data:text/javascript,process.on("SIGUSR2",()=>{gc()})'],
      expectedErrors: ({ code }) => String(code).startsWith("err:sentinel:upstream:"),
    });
    const idle = gateway.sockets();
    await logNoRequests(gateway);
    const surprises: string[] = [];
    const samples: Sample[] = [];
    const done = new Map<string, number>();
    const startedAt = performance.now();
    let next = 0;
    const progress = () => (MINUTES > 0 ? (performance.now() - startedAt) / (MINUTES * 60_000) : next / REQUESTS);

    for (let part = 1; part <= SAMPLES; part += 1) {
      const clients = Array.from({ length: CLIENTS }, async () => {
        while (progress() < part / SAMPLES && surprises.length < 20) {
          const kind = SOAK_KINDS[next++ % SOAK_KINDS.length] as SoakKind;
          const surprise = await run(kind, gateway.port);
          done.set(kind.name, (done.get(kind.name) ?? 0) + 1);
          if (surprise !== null) surprises.push(surprise);
        }
      });
      await Promise.all(clients);
      samples.push(await sample(gateway, upstream, idle, next));
    }
    const seconds = (performance.now() - startedAt) / 1000;
    console.info(
      `soak: ${next} exchanges of ${done.size} kinds in ${seconds.toFixed(1)} s, ${upstream.requests} arrived upstream\n${samples
        .map((each) => JSON.stringify(each))
        .join("\n")}`,
    );
    expect(surprises).toEqual([]);
    expect(upstream.unidentified).toEqual([]);
    expect(done.size).toBe(SOAK_KINDS.length);

    const [, early, ...later] = samples;
    const last = later.at(-1);
    if (early === undefined || last === undefined) throw new Error("no samples");
    expect(last.inFlight).toBe(0);
    expect(last.sockets).toBe(0);
    expect(last.descriptors).toBeLessThanOrEqual(early.descriptors + 4);
    // 330 bytes an exchange would show.
    expect(last.heapMib).toBeLessThanOrEqual(early.heapMib + 3);
    // Of buffers it has now more, now fewer to read into.
    expect(last.externalMib).toBeLessThanOrEqual(early.externalMib + 8);
    expect(last.rssMib).toBeLessThanOrEqual(early.rssMib + 40);
    // What the chart gives the smallest pod, a sidecar.
    expect(Math.max(...samples.map(({ rssMib }) => rssMib))).toBeLessThan(256);
    await gateway.stop();
    await upstream.stop();
  },
  MINUTES > 0 ? MINUTES * 90_000 : 240_000,
);
