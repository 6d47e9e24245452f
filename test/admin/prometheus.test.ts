import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { parse } from "yaml";
import { freePort } from "../support/free-port.ts";
import { type RunningGateway, startGateway } from "../support/gateway.ts";
import { keyringKey } from "../support/keyring.ts";
import { hasProgram } from "../support/programs.ts";

const KEY = "unkey_3ZPnKbQmWvRtYhJsDfGxCa";
const FILES = resolve("helm/sentinel/files");
const installed = hasProgram("prometheus");

/** A Prometheus with its data in a temporary folder, which scrapes one target five times a second. */
class Prometheus {
  readonly #child: ChildProcess;
  readonly #folder: string;
  readonly #origin: string;

  private constructor(child: ChildProcess, folder: string, origin: string) {
    this.#child = child;
    this.#folder = folder;
    this.#origin = origin;
  }

  static async start(target: string): Promise<Prometheus> {
    const folder = mkdtempSync(join(tmpdir(), "prometheus-"));
    const config = {
      global: { scrape_interval: "200ms", scrape_timeout: "200ms", evaluation_interval: "1s" },
      scrape_configs: [{ job_name: "sentinel", static_configs: [{ targets: [target] }] }],
    };
    writeFileSync(join(folder, "prometheus.yml"), JSON.stringify(config));
    const address = `127.0.0.1:${await freePort()}`;
    const options = [`--config.file=${folder}/prometheus.yml`, `--storage.tsdb.path=${folder}/data`];
    const child = spawn("prometheus", [...options, `--web.listen-address=${address}`], { stdio: "ignore" });
    const prometheus = new Prometheus(child, folder, `http://${address}`);
    await vi.waitUntil(() => prometheus.#isReady(), { timeout: 20_000, interval: 50 });
    return prometheus;
  }

  /** The series that an expression gives, by its labels (without job and instance). Rejects when it can not be read. */
  async query(expr: string): Promise<Map<string, number>> {
    const reply = await fetch(`${this.#origin}/api/v1/query?query=${encodeURIComponent(shorten(expr))}`);
    const { status, error, data } = (await reply.json()) as QueryReply;
    if (status !== "success" || data === undefined) throw new Error(`${expr}: ${error}`);
    return new Map(
      data.result.map(({ metric: { job, instance, __name__, ...labels }, value }) => [
        Object.values(labels).sort().join(" "),
        Number(value[1]),
      ]),
    );
  }

  async stop(): Promise<void> {
    const exited = new Promise((done) => this.#child.once("exit", done));
    this.#child.kill("SIGKILL");
    await exited;
    rmSync(this.#folder, { recursive: true, force: true });
  }

  async #isReady(): Promise<boolean> {
    try {
      return (await fetch(`${this.#origin}/-/ready`)).ok;
    } catch {
      return false;
    }
  }
}

interface QueryReply {
  readonly status: string;
  readonly error?: string;
  readonly data?: { readonly result: { metric: Record<string, string>; value: [number, string] }[] };
}

/** Windows of minutes become seconds: a test does not wait for five minutes. */
function shorten(expr: string): string {
  return expr
    .replaceAll("$__rate_interval", "5s")
    .replaceAll(/\$(job|route)/g, ".*")
    .replaceAll(/\[\d+[mh]\]/g, "[5s]");
}

async function startUpstream(status: number): Promise<Server> {
  const server = createServer((_, response) => response.writeHead(status).end("{}"));
  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
  return server;
}

/** Begins each answer and never ends it. */
async function startCutting(): Promise<Server> {
  const server = createServer((_, response) => {
    response.writeHead(200, { "Content-Length": "1000" }).write("{", () => response.destroy());
  });
  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
  return server;
}

function originOf(server: Server): string {
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

const alerts = (
  parse(readFileSync(join(FILES, "alerts.yaml"), "utf8")) as { groups: { rules: { alert: string; expr: string }[] }[] }
).groups.flatMap(({ rules }) => rules);

describe.skipIf(!installed)("a Prometheus that scrapes a running gateway", () => {
  let good: Server;
  let bad: Server;
  let cut: Server;
  let gateway: RunningGateway;
  let prometheus: Prometheus;
  let traffic: NodeJS.Timeout;

  beforeAll(async () => {
    [good, bad, cut] = await Promise.all([startUpstream(200), startUpstream(500), startCutting()]);
    gateway = await startGateway({
      keyring: { keys: [keyringKey("key_ci", KEY, { permissions: ["api.api_1.read_api"] })] },
      config: {
        upstreams: [
          { name: "good", targets: [originOf(good)] },
          { name: "bad", targets: [originOf(bad)] },
          { name: "cut", targets: [originOf(cut)] },
          {
            name: "dead",
            targets: [`http://127.0.0.1:${await freePort()}`],
            healthCheck: { path: "/", interval: "100ms", timeout: "100ms" },
          },
        ],
        routes: [
          { name: "good", match: { path: "/good" }, upstream: "good" },
          { name: "bad", match: { path: "/bad" }, upstream: "bad" },
          { name: "cut", match: { path: "/cut" }, upstream: "cut" },
          { name: "guarded", match: { path: "/guarded" }, permissions: "api.api_2.read_api", upstream: "good" },
          { name: "dead", match: { path: "/dead" }, upstream: "dead" },
        ],
      },
      expectedErrors: (record) => record.event === "config_refused",
    });
    prometheus = await Prometheus.start(gateway.adminOrigin.slice("http://".length));
    const headers = { authorization: `Bearer ${KEY}` };
    traffic = setInterval(() => {
      for (const path of ["/good", "/bad", "/cut", "/guarded", "/nowhere"]) {
        fetch(`${gateway.origin}${path}`, { headers })
          .then((reply) => reply.text())
          .catch(() => {});
      }
      fetch(`${gateway.origin}/good`)
        .then((reply) => reply.text())
        .catch(() => {});
    }, 20);
  });
  afterAll(async () => {
    clearInterval(traffic);
    await prometheus?.stop();
    for (const server of [good, bad, cut]) {
      server?.closeAllConnections();
      server?.close();
    }
    await gateway?.stop();
  });

  function exprOf(name: string): string {
    const rule = alerts.find(({ alert }) => alert === name);
    if (rule === undefined) throw new Error(`no alert ${name}`);
    return rule.expr;
  }

  async function series(expr: string): Promise<string[]> {
    return [...(await prometheus.query(expr)).keys()].sort();
  }

  it("finds the route whose upstream fails, and only that one", async () => {
    await expect.poll(() => series(exprOf("SentinelErrorRatio")), { timeout: 20_000 }).toEqual(["bad"]);
    const ratio = await prometheus.query(exprOf("SentinelErrorRatio"));
    expect(ratio.get("bad")).toBeGreaterThan(0.9);
  });

  it("finds the upstream whose answers break off, though each began with 200", async () => {
    await expect.poll(() => series(exprOf("SentinelUpstreamErrors")), { timeout: 20_000 }).toEqual(["cut"]);
  });

  it("finds the upstream without a healthy target", async () => {
    await expect.poll(() => series(exprOf("SentinelUpstreamDown")), { timeout: 20_000 }).toEqual(["dead"]);
  });

  it("sees each verdict as often as it was given", async () => {
    const rates = () =>
      prometheus.query('sum by (verdict) (rate(sentinel_verdicts_total{route=~"good|guarded"}[1m])) > 1');
    await expect
      .poll(async () => [...(await rates()).keys()].sort(), { timeout: 20_000 })
      .toEqual(["allowed", "insufficient_permissions", "missing"]);
    const none = await prometheus.query('rate(sentinel_requests_total{route="_none", status="404"}[1m]) > 1');
    expect(none.size).toBe(1);
  });

  it("finds an instance that refused a changed configuration", async () => {
    expect(await series(exprOf("SentinelReloadFailed"))).toEqual([]);
    const path = join(gateway.folder, "sentinel.yaml");
    const before = readFileSync(path, "utf8");
    writeFileSync(`${path}.new`, `${before}\nlisten_: 1\n`);
    renameSync(`${path}.new`, path);
    await expect.poll(() => series(exprOf("SentinelReloadFailed")), { timeout: 20_000 }).toHaveLength(1);
    writeFileSync(`${path}.new`, before);
    renameSync(`${path}.new`, path);
    await expect.poll(() => series(exprOf("SentinelReloadFailed")), { timeout: 20_000 }).toEqual([]);
  });

  it("finds nothing else", async () => {
    // Those that fire here, and those that depend on how busy this machine is.
    const others = ["SentinelErrorRatio", "SentinelUpstreamErrors", "SentinelUpstreamDown", "SentinelDenialSpike"];
    const machine = ["SentinelSaturated", "SentinelGatewaySlow"];
    const quiet = alerts.map(({ alert }) => alert).filter((alert) => ![...others, ...machine].includes(alert));
    const firing = [];
    for (const alert of quiet) if ((await prometheus.query(exprOf(alert))).size > 0) firing.push(alert);
    expect(firing).toEqual([]);
  });

  it("can answer every question of the dashboard, and has something to show in each panel", async () => {
    const { panels } = JSON.parse(readFileSync(join(FILES, "dashboard.json"), "utf8")) as {
      panels: { title: string; targets?: { expr: string }[] }[];
    };
    const empty = [];
    for (const { title, targets = [] } of panels) {
      for (const { expr } of targets) if ((await prometheus.query(expr)).size === 0) empty.push(title);
    }
    expect(empty).toEqual(["Redis"]);
  });

  it("takes what the gateway says for a clean scrape", async () => {
    expect((await prometheus.query("up")).get("")).toBe(1);
    const text = await (await fetch(`${gateway.adminOrigin}/metrics`)).text();
    const check = spawnSync("promtool", ["check", "metrics"], { input: text, encoding: "utf8" });
    expect(`${check.stdout}${check.stderr}`).toBe("");
    expect(text).not.toMatch(/api_1|127\.0\.0\.1:\d+\/|nowhere|key_ci|unkey_/);
  });
});
