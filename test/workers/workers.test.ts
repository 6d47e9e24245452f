import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { createInterface } from "node:readline";
import { beforeAll, describe, expect, it, onTestFinished } from "vitest";
import { mergeStates } from "../../src/workers.ts";
import { ask, stateOf } from "../admin/support.ts";
import { bundle, sample } from "../telemetry/support.ts";

/**
 * A process with two workers that serve their pid, `/die`, `/begin`, whose request counts as in flight for ever, and
 * `/slow`, which is answered only once draining began.
 */
const PROGRAM = `
  import cluster from "node:cluster";
  import { createServer } from "node:http";
  import { startAdminServer } from "./src/admin/server.ts";
  import { collectScrape } from "./src/telemetry/scrape.ts";
  import { runWorkers, serveAsWorker, WorkerStartFailed } from "./src/workers.ts";
  import { exchangeOf, metricsFor } from "./test/telemetry/support.ts";
  import { stateOf } from "./test/admin/support.ts";

  const say = (what) => process.stdout.write(JSON.stringify(what) + "\\n");
  const log = (level, event, fields) => say({ level, event, ...fields });
  if (cluster.isPrimary) await hold();
  else work();

  async function hold() {
    const backOff = { firstMs: Number(process.env.BACK_OFF ?? 1), maxMs: 10_000 };
    const patience = { askEveryMs: 10, asksMax: Number(process.env.ASKS_MAX ?? 60_000) };
    const workers = await runWorkers({ count: 2, log, drainTimeoutMs: 1000, backOff, patience }).catch((error) => {
      if (!(error instanceof WorkerStartFailed)) throw error;
      say({ event: "start_failed" });
      process.exit(error.exitCode);
    });
    const listen = { kind: "tcp", host: "127.0.0.1", port: 0 };
    const admin = await startAdminServer({ listen, state: () => workers.state(), scrapes: () => workers.scrapes(), log });
    process.on("SIGHUP", () => workers.reload());
    process.on("SIGTERM", async () => {
      await workers.drain();
      await admin.close();
      say({ event: "drained" });
      process.exit(0);
    });
    say({ event: "listening", address: workers.addresses[0], admin: admin.address });
  }

  function work() {
    if (process.env.FAIL !== undefined) process.exit(Number(process.env.FAIL));
    const metrics = metricsFor();
    let generation = 1;
    let draining = false;
    const slow = [];
    const server = createServer((request, response) => {
      metrics.requestBegan();
      metrics.requestEnded(exchangeOf());
      if (request.url === "/die") process.exit(3);
      if (request.url === "/begin") metrics.requestBegan();
      response.shouldKeepAlive = false;
      if (request.url === "/slow") {
        say({ event: "slow" });
        slow.push(response);
      } else response.end(String(process.pid));
    });
    server.listen(0, "127.0.0.1", () => {
      const { port } = server.address();
      serveAsWorker({
        state: () => stateOf({
          addresses: ["http://127.0.0.1:" + port],
          generation,
          checks: [{ name: "draining", ok: !draining, reason: draining ? "draining" : "" }],
        }),
        scrape: () => collectScrape(metrics),
        reload: async () => { generation++; say({ event: "reloaded" }); },
        drain: () => new Promise((resolve) => {
          draining = true;
          if (process.env.STUCK !== undefined) return;
          server.close(resolve);
          for (const response of slow) response.end("finished");
        }),
      }, log);
    });
  }
`;

interface Holder {
  readonly child: ChildProcess;
  readonly address: string;
  readonly admin: string;
  readonly events: Record<string, unknown>[];
  /** The next event of this name that was not waited for yet. */
  next(event: string): Promise<Record<string, unknown>>;
  readonly exited: Promise<number | null>;
}

let program = "";
beforeAll(() => {
  program = bundle(PROGRAM);
});

async function launch(env: Record<string, string> = {}): Promise<Omit<Holder, "address" | "admin">> {
  const child = spawn(process.execPath, [program], {
    env: { ...process.env, ...env },
    stdio: ["ignore", "pipe", "inherit"],
  });
  onTestFinished(() => void child.kill("SIGKILL"));
  const events: Record<string, unknown>[] = [];
  const waiting: [string, (event: Record<string, unknown>) => void][] = [];
  const unclaimed: Record<string, unknown>[] = [];
  createInterface({ input: child.stdout }).on("line", (line) => {
    const event = JSON.parse(line) as Record<string, unknown>;
    events.push(event);
    const at = waiting.findIndex(([name]) => name === event.event);
    if (at === -1) unclaimed.push(event);
    else waiting.splice(at, 1)[0]?.[1](event);
  });
  const next = (name: string) => {
    const at = unclaimed.findIndex((event) => event.event === name);
    if (at !== -1) return Promise.resolve(unclaimed.splice(at, 1)[0] as Record<string, unknown>);
    return new Promise<Record<string, unknown>>((resolve) => waiting.push([name, resolve]));
  };
  const exited = once(child, "exit").then(([code]) => code as number | null);
  return { child, events, next, exited };
}

async function start(env: Record<string, string> = {}): Promise<Holder> {
  const holder = await launch(env);
  const { address, admin } = await holder.next("listening");
  return { ...holder, address: String(address), admin: String(admin) };
}

/** Asks until every worker has answered: connections go round robin. */
async function pids({ address }: Holder): Promise<Set<string>> {
  const replies = [];
  for (let n = 0; n < 4; n++) replies.push(await ask(address, "/"));
  return new Set(replies.map((reply) => reply.body));
}

/** What is scraped once a worker has died and is not replaced. */
async function afterDeath(holder: Holder): Promise<string> {
  await expect(ask(holder.address, "/die")).rejects.toThrow();
  await holder.next("worker_ended");
  return (await ask(holder.admin, "/metrics")).body;
}

function gaugesOf(scrape: string): string[] {
  const names = [...scrape.matchAll(/^# TYPE (\S+) gauge$/gm)].map(([, name]) => name as string);
  return names.filter((name) => new RegExp(`^${name}[ {]`, "m").test(scrape));
}

const inFlight = "sentinel_requests_in_flight";
const healthy = 'sentinel_upstream_healthy{upstream="orders",target="http://10.0.0.1:3000"}';
const memory = "process_resident_memory_bytes";
const served = 'sentinel_requests_total{route="read-api",method="GET",status="200"}';

describe("runWorkers", () => {
  it("shares one listener among the workers, and shows them as one instance", async () => {
    const holder = await start();
    expect((await pids(holder)).size).toBe(2);
    const { body } = await ask(holder.admin, "/metrics");
    expect(sample(body, served)).toBe(4);
    const ready = await ask(holder.admin, "/readyz");
    expect(ready.status).toBe(200);
    expect(JSON.parse(ready.body)).toMatchObject({ ready: true, generation: 1 });
    expect((await ask(holder.admin, "/")).body).toContain("<dt>Processes</dt><dd>2</dd>");
  });

  it("replaces a worker that died, says so, and forgets nothing it counted", async () => {
    const holder = await start();
    await pids(holder);
    expect(sample((await ask(holder.admin, "/metrics")).body, served)).toBe(4);
    const ended = holder.next("worker_ended");
    await expect(ask(holder.address, "/die")).rejects.toThrow();
    expect(await ended).toMatchObject({ level: "error", code: 3, signal: null, replacedInMs: 1 });
    await holder.next("worker_started");
    expect((await pids(holder)).size).toBe(2);
    expect(sample((await ask(holder.admin, "/metrics")).body, served)).toBeGreaterThanOrEqual(8);
    expect((await ask(holder.admin, "/readyz")).status).toBe(200);
  });

  it("keeps the counters of a worker that died, and none of its gauges", async () => {
    const holder = await start({ BACK_OFF: "60000" });
    for (let n = 0; n < 4; n++) await ask(holder.address, "/begin");
    const before = (await ask(holder.admin, "/metrics")).body;
    expect([sample(before, served), sample(before, inFlight), sample(before, healthy)]).toEqual([4, 4, 1]);
    expect(sample(before, memory)).toBeGreaterThan(0);
    const oneDied = await afterDeath(holder);
    expect([sample(oneDied, served), sample(oneDied, inFlight), sample(oneDied, healthy)]).toEqual([4, 2, 1]);
    const bothDied = await afterDeath(holder);
    expect(sample(bothDied, served)).toBe(4);
    expect(gaugesOf(bothDied)).toEqual([]);
    expect(sample(bothDied, "process_cpu_seconds_total")).toBeGreaterThan(0);
  });

  it("waits longer after each worker that died young", async () => {
    const holder = await start();
    const delays = [];
    for (let n = 0; n < 3; n++) {
      const ended = holder.next("worker_ended");
      await expect(ask(holder.address, "/die")).rejects.toThrow();
      delays.push((await ended).replacedInMs);
      await holder.next("worker_started");
    }
    expect(delays).toEqual([1, 2, 4]);
  });

  it("is not ready when no worker is left, and still answers who asks for the first time", async () => {
    const holder = await start({ BACK_OFF: "60000" });
    for (let n = 0; n < 2; n++) {
      await expect(ask(holder.address, "/die")).rejects.toThrow();
      await holder.next("worker_ended");
    }
    const ready = await ask(holder.admin, "/readyz");
    expect(ready.status).toBe(503);
    expect(JSON.parse(ready.body).checks.workers).toEqual({ ok: false, reason: "no worker answers" });
    expect((await ask(holder.admin, "/livez")).status).toBe(200);
    expect((await ask(holder.admin, "/metrics")).status).toBe(200);
  });

  it("is ready while one worker answers, and not when all of them hang, whatever they said before", async () => {
    const holder = await start();
    const readiness = async () => JSON.parse((await ask(holder.admin, "/readyz")).body);
    expect((await readiness()).ready).toBe(true);
    const [first = "", second = ""] = await pids(holder);
    process.kill(Number(first), "SIGSTOP");
    expect((await readiness()).ready).toBe(true);
    process.kill(Number(second), "SIGSTOP");
    expect(await readiness()).toMatchObject({
      ready: false,
      checks: { workers: { ok: false, reason: "no worker answers" } },
    });
    for (const pid of [first, second]) process.kill(Number(pid), "SIGCONT");
    expect((await readiness()).ready).toBe(true);
  });

  it("passes a reload on to every worker", async () => {
    const holder = await start();
    holder.child.kill("SIGHUP");
    await Promise.all([holder.next("reloaded"), holder.next("reloaded")]);
    expect(JSON.parse((await ask(holder.admin, "/readyz")).body).generation).toBe(2);
  });

  it("drains the workers, whose requests are finished, and replaces none", async () => {
    const holder = await start();
    const replies = [ask(holder.address, "/slow"), ask(holder.address, "/slow")];
    await Promise.all([holder.next("slow"), holder.next("slow")]);
    holder.child.kill("SIGTERM");
    expect((await Promise.all(replies)).map((reply) => reply.body)).toEqual(["finished", "finished"]);
    expect(await holder.exited).toBe(0);
    expect(holder.events.map((event) => event.event)).not.toContain("worker_ended");
  });

  it("gives a connection that a worker died before taking to another one", async () => {
    const holder = await start({ BACK_OFF: "60000" });
    const [frozen = "", other = ""] = await pids(holder);
    process.kill(Number(frozen), "SIGSTOP");
    let answered = 0;
    const replies = Array.from({ length: 4 }, () => ask(holder.address, "/").finally(() => answered++));
    await expect.poll(() => answered).toBe(3);
    process.kill(Number(frozen), "SIGKILL");
    expect((await Promise.all(replies)).map((reply) => reply.body)).toEqual([other, other, other, other]);
  });

  it("ends the connections that no worker is left to take", async () => {
    const holder = await start({ BACK_OFF: "60000" });
    const workers = await pids(holder);
    for (const pid of workers) process.kill(Number(pid), "SIGSTOP");
    const { port } = new URL(holder.address);
    const clients = Array.from({ length: 4 }, () => connect(Number(port), "127.0.0.1"));
    await Promise.all(clients.map((client) => once(client, "connect")));
    // The holder has them all: it takes connections in their order, the admin's after these.
    await ask(holder.admin, "/livez");
    // With a reset too: `once` would fail for it.
    const ended = (client: Socket) => new Promise((resolve) => client.on("error", () => {}).once("close", resolve));
    const ends = Promise.all(clients.map((client) => ended(client.resume())));
    for (const pid of workers) process.kill(Number(pid), "SIGKILL");
    expect(await ends).toHaveLength(4);
  });

  it("replaces a worker that hangs, and gives the connection that it did not take to another one", async () => {
    const holder = await start({ ASKS_MAX: "200" });
    const [frozen = "", other = ""] = await pids(holder);
    process.kill(Number(frozen), "SIGSTOP");
    const replies = await Promise.all(Array.from({ length: 4 }, () => ask(holder.address, "/")));
    expect(replies.map((reply) => reply.body)).not.toContain(frozen);
    const pid = Number(frozen);
    expect(await holder.next("worker_hung")).toEqual({ event: "worker_hung", level: "error", pid, silentMs: 2000 });
    expect(await holder.next("worker_ended")).toMatchObject({ pid, signal: "SIGKILL", replacedInMs: 1 });
    await holder.next("worker_started");
    const now = await pids(holder);
    expect(now.size).toBe(2);
    expect(now).toContain(other);
  });

  it("replaces all of its workers when all of them hang", async () => {
    const holder = await start({ ASKS_MAX: "200" });
    const workers = await pids(holder);
    for (const pid of workers) process.kill(Number(pid), "SIGSTOP");
    const started = await Promise.all([holder.next("worker_started"), holder.next("worker_started")]);
    expect(started.filter(({ pid }) => workers.has(String(pid)))).toEqual([]);
    expect((await ask(holder.admin, "/readyz")).status).toBe(200);
  });

  it("leaves signals to the process that holds them", async () => {
    const holder = await start();
    const [first = ""] = await pids(holder);
    for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.kill(Number(first), signal);
    expect((await pids(holder)).has(first)).toBe(true);
    expect(holder.events.map((event) => event.event)).not.toContain("worker_ended");
  });

  it("ends a worker that does not drain in time", async () => {
    const holder = await start({ STUCK: "1" });
    holder.child.kill("SIGTERM");
    expect(await holder.exited).toBe(0);
    expect(holder.events.at(-1)).toEqual({ event: "drained" });
  });

  it("fails with a worker's exit code when it can not start", async () => {
    const holder = await launch({ FAIL: "2" });
    expect(await holder.exited).toBe(2);
    expect(holder.events).toEqual([{ event: "start_failed" }]);
  });

  it("leaves no worker behind when the holding process is killed", async () => {
    const holder = await start();
    const workers = await pids(holder);
    holder.child.kill("SIGKILL");
    await holder.exited;
    await expect.poll(() => [...workers].filter(isAlive), { timeout: 5000 }).toEqual([]);
  });
});

function isAlive(pid: string): boolean {
  try {
    return process.kill(Number(pid), 0);
  } catch {
    return false;
  }
}

describe("mergeStates", () => {
  it("is ready while one worker is, and well only where all are", () => {
    const sick = stateOf({
      checks: [{ name: "keys", ok: false, reason: "not reached" }],
      upstreams: [{ name: "orders", targets: [{ url: "http://10.0.0.1:3000", healthy: false }] }],
      redis: { up: false, reason: "refused" },
    });
    const merged = mergeStates([sick, stateOf()], null, 2);
    expect(merged.checks.every((check) => check.ok)).toBe(true);
    expect(merged.upstreams[0]?.targets[0]).toEqual({ url: "http://10.0.0.1:3000", healthy: false });
    expect(merged.redis).toEqual({ up: false, reason: "refused" });
    expect(merged.keys.entries).toBe(2468);
    const since = (startedAt: number) => stateOf({ startedAt });
    expect(mergeStates([since(3), since(1), since(2)], null, 3).startedAt).toBe(1);
    expect(mergeStates([sick, sick], null, 2).checks[0]).toEqual({ name: "keys", ok: false, reason: "not reached" });
  });
});
