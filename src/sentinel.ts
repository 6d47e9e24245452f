import cluster from "node:cluster";
import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import type { AddressInfo, ListenOptions } from "node:net";
import { setTimeout as elapse } from "node:timers/promises";
import { type AdminServer, startAdminServer } from "./admin/server.ts";
import type { AdminState, LastReload } from "./admin/state.ts";
import { describeGateway } from "./assembly/admin-state.ts";
import { type OpenedKeys, openKeys } from "./assembly/open-keys.ts";
import { headLimits, type Prepared, prepare } from "./assembly/prepare.ts";
import { restartMembers, withRunning, withRunningKeyring } from "./assembly/running-config.ts";
import type { ListenAddress } from "./config/addresses.ts";
import type { Environment } from "./config/environment.ts";
import { formatProblemLine, type Problem } from "./config/problem.ts";
import type { Config } from "./config/schema.ts";
import { watchFiles } from "./config/watch.ts";
import { createForwarder } from "./forward/forward.ts";
import type { Forwarder, UpstreamEngine } from "./forward/forwarder.ts";
import { createSocketEngine } from "./forward/socket-engine.ts";
import { createUpstreams, type Upstreams } from "./forward/upstreams.ts";
import { Gateway } from "./gateway.ts";
import { Listener, type TlsMaterial } from "./inbound/listener.ts";
import { type OverloadWatch, watchOverload } from "./inbound/overload.ts";
import type { Tier } from "./keys/source.ts";
import type { Snapshot } from "./snapshot.ts";
import type { LineSink } from "./telemetry/line-writer.ts";
import { asError, type LogFields } from "./telemetry/logger.ts";
import type { MetricSubjects } from "./telemetry/metrics.ts";
import { collectScrape } from "./telemetry/scrape.ts";
import { createTelemetry, type Telemetry } from "./telemetry/telemetry.ts";
import { watchTunnels } from "./tunnels.ts";

export interface SentinelOptions {
  readonly configPath: string;
  readonly env: Environment;
  readonly version: string;
  /** Where the log goes; standard output unless given. */
  readonly sink?: LineSink;
  /** False in a worker: the admin listener is its parent's. */
  readonly admin: boolean;
  /** Called when it listens, before the log says so: whoever reads that may send a signal at once. */
  readonly onListening?: (sentinel: RunningSentinel) => void;
}

/** A gateway that runs. */
export interface RunningSentinel {
  readonly telemetry: Telemetry;
  /** Takes up the configuration as it is on disk, all or nothing; false: it was refused, and the last good one stays. */
  reload(): Promise<boolean>;
  /** Not ready; after `drain.delay` nothing is accepted; resolves when all that ran is finished, or cut after `drain.timeout`. */
  drain(): Promise<void>;
  /** Ends everything at once. */
  close(): Promise<void>;
  state(): AdminState;
}

/**
 * Builds every part out of a configuration that was found good, and starts them. Rejects with the error of a listener
 * that can not listen; nothing is left running then.
 */
export async function startSentinel(options: SentinelOptions, prepared: Prepared): Promise<RunningSentinel> {
  const sentinel = new Sentinel(options, prepared);
  try {
    await sentinel.start();
    return sentinel;
  } catch (error) {
    await sentinel.close();
    throw error;
  }
}

class Sentinel implements RunningSentinel {
  readonly telemetry: Telemetry;
  readonly #options: SentinelOptions;
  readonly #startedAt = Date.now();
  /** What `Via` calls this instance; also its name among those that acknowledge changes. */
  readonly #instance = process.env.SENTINEL_WORKER_OF ?? randomBytes(6).toString("hex");
  readonly #engine: UpstreamEngine;
  readonly #forwarder: Forwarder;
  readonly #overload: OverloadWatch;
  /** What to close, in the order of closing. */
  readonly #closers: (() => unknown)[] = [];
  /** Targets that are out, as `upstream target`. */
  readonly #unhealthy = new Set<string>();
  #prepared: Prepared;
  #snapshot: Snapshot | null = null;
  #upstreams: Upstreams;
  #keys: OpenedKeys | null = null;
  #listener: Listener | null = null;
  #admin: AdminServer | null = null;
  #address: AddressInfo | null = null;
  #lastReload: LastReload | null = null;
  #reloading: Promise<boolean> | null = null;
  #draining = false;

  constructor(options: SentinelOptions, prepared: Prepared) {
    const { config, compiled } = prepared;
    this.#options = options;
    this.#prepared = prepared;
    this.telemetry = createTelemetry({
      log: config.log,
      keyPrefix: config.keys.prefix,
      metrics: {
        ...subjectsOf(prepared),
        tiers: tiersOf(prepared),
        redis: compiled.redis !== null && config.keys.source.type !== "file",
        version: options.version,
      },
      ...(options.sink !== undefined && { sink: options.sink }),
    });
    const { metrics } = this.telemetry;
    this.#overload = watchOverload(config.limits, () => metrics.requestsInFlight);
    this.#engine = createSocketEngine({ keptSocketsMax: connectionLimit(config.limits.maxConnections) });
    this.#upstreams = createUpstreams(compiled.upstreams, this.#engine, {
      observer: {
        upstreamError: (upstream, reason) => metrics.upstreamError(upstream, reason),
        upstreamHealthy: (upstream, target, healthy) => this.#upstreamHealthy(upstream, target, healthy),
      },
    });
    this.#forwarder = createForwarder({ engine: this.#engine, via: `1.1 sentinel (${this.#instance})` });
  }

  async start(): Promise<void> {
    const { config, compiled } = this.#prepared;
    await this.telemetry.startTracing();
    this.#keys = await this.#openKeys();
    this.#snapshot = this.#makeSnapshot(1);
    this.telemetry.metrics.configGeneration(1);
    this.#listener = this.#makeListener();
    this.#address = await this.#listener.listen(listenOptions(compiled.listen));
    if (this.#options.admin) this.#admin = await this.#startAdmin();
    this.#watch();
    this.#options.onListening?.(this);
    this.telemetry.log("info", cluster.isWorker ? "worker_listening" : "listening", {
      address: this.#url(),
      admin: this.#admin?.address ?? null,
      config: this.#options.configPath,
      routes: config.routes.length,
      keys: config.keys.source.type,
      version: this.#options.version,
    });
    const open = config.routes.filter((route) => route.auth === "none").map((route) => route.name);
    if (open.length > 0) this.telemetry.log("warn", "open_routes", { routes: open.join(", ") });
    this.#warn(compiled.warnings);
    // Somebody waits for these lines.
    void this.telemetry.flush();
  }

  #warn(warnings: readonly Problem[]): void {
    if (warnings.length === 0) return;
    this.telemetry.log("warn", "config_warnings", { warnings: warnings.map(formatProblemLine).join("\n") });
  }

  reload(): Promise<boolean> {
    // One after the other: the last one reads what was written last.
    const previous = this.#reloading ?? Promise.resolve(true);
    const next = previous.then(() => this.#reload());
    this.#reloading = next;
    return next;
  }

  async drain(): Promise<void> {
    const { drain } = this.#prepared.config;
    this.#draining = true;
    this.telemetry.log("info", "draining", { delayMs: drain.delay, timeoutMs: drain.timeout });
    await elapse(drain.delay);
    const finished = this.#listener?.close() ?? Promise.resolve();
    const timeout = elapse(drain.timeout, false, { ref: false });
    const inTime = await Promise.race([finished.then(() => true), timeout]);
    if (!inTime) {
      this.telemetry.log("warn", "drain_cut", { connections: this.#listener?.connectionCount ?? 0 });
      for (const tunnel of this.#forwarder.tunnels) tunnel.close();
    }
    await this.close();
  }

  async close(): Promise<void> {
    for (const close of this.#closers.splice(0)) close();
    await Promise.all([this.#listener?.destroyConnections(), this.#listener?.close()]);
    this.#overload.close();
    this.#upstreams.close();
    this.#forwarder.close();
    await this.#keys?.source.close();
    await this.#admin?.close();
    await this.telemetry.close();
  }

  state(): AdminState {
    return describeGateway({
      version: this.#options.version,
      startedAt: this.#startedAt,
      configFile: this.#options.configPath,
      prepared: this.#prepared,
      generation: this.#snapshot?.generation ?? 0,
      lastReload: this.#lastReload,
      address: this.#url(),
      draining: this.#draining,
      keys: this.#keys,
      isHealthy: (upstream, target) => !this.#unhealthy.has(`${upstream} ${target}`),
    });
  }

  #upstreamHealthy(upstream: string, target: string, healthy: boolean): void {
    this.telemetry.metrics.upstreamHealthy(upstream, target, healthy);
    const name = `${upstream} ${target}`;
    if (healthy === !this.#unhealthy.has(name)) return;
    if (healthy) this.#unhealthy.delete(name);
    else this.#unhealthy.add(name);
    this.telemetry.log(healthy ? "info" : "warn", healthy ? "target_back" : "target_out", { upstream, target });
  }

  async #openKeys(): Promise<OpenedKeys> {
    const { config, compiled, keyring } = this.#prepared;
    const { metrics, log } = this.telemetry;
    const opened = await openKeys(config, compiled.redis, keyring, {
      metrics,
      log: (level, event, fields) => log(level, event, fields as LogFields),
      instance: cluster.isWorker ? `${this.#instance}/${cluster.worker?.id}` : this.#instance,
    });
    metrics.measureCacheEntries(opened.entries);
    return opened;
  }

  #url(): string | null {
    if (this.#address === null) return null;
    const { address, family, port } = this.#address;
    const scheme = this.#prepared.config.tls === undefined ? "http" : "https";
    return `${scheme}://${family === "IPv6" ? `[${address}]` : address}:${port}`;
  }

  #makeSnapshot(generation: number): Snapshot {
    const { config, compiled } = this.#prepared;
    if (this.#keys === null) throw new Error("there is no key source yet");
    return {
      generation,
      table: compiled.table,
      keys: this.#keys.source,
      keyPrefix: config.keys.prefix,
      now: Date.now,
      head: headLimits(config, this.#instance),
      errors: compiled.errors,
      upstreams: this.#upstreams,
      serverTiming: config.serverTiming,
    };
  }

  #makeListener(): Listener {
    const { config } = this.#prepared;
    const gateway = new Gateway({
      snapshot: () => this.#current(),
      forwarder: this.#forwarder,
      recorder: this.telemetry.recorder,
      overloaded: () => this.#overload.overloaded(),
      draining: () => this.#draining,
    });
    return new Listener({
      limits: { ...config.limits, maxConnections: connectionLimit(config.limits.maxConnections) },
      tls: tlsMaterial(config),
      trustedProxies: () => this.#prepared.compiled.trustedProxies,
      handler: gateway,
    });
  }

  #startAdmin(): Promise<AdminServer> {
    const { metrics, log } = this.telemetry;
    return startAdminServer({
      listen: this.#prepared.compiled.admin,
      state: () => this.state(),
      scrapes: async () => [await collectScrape(metrics)],
      log,
    });
  }

  #watch(): void {
    const watch = watchFiles(
      async () => {
        await this.#reloading;
        return this.#prepared.files;
      },
      () => void this.reload(),
    );
    this.#closers.push(() => watch.close());
    this.#closers.push(
      watchTunnels({
        tunnels: this.#forwarder.tunnels,
        staleIfErrorMs: this.#prepared.config.keys.cache.staleIfError,
        onRevoked: ({ exchange }, label) =>
          this.telemetry.log("info", "tunnel_closed", { requestId: exchange.requestId, keyId: exchange.keyId, label }),
        onError: (error) => this.telemetry.log("error", "tunnel_check_failed", { error: asError(error) }),
      }),
    );
  }

  #current(): Snapshot {
    if (this.#snapshot === null) throw new Error("there is no configuration yet");
    return this.#snapshot;
  }

  async #reload(): Promise<boolean> {
    const { log, metrics } = this.telemetry;
    const previous = this.#prepared;
    const next = await prepare(this.#options.configPath, this.#options.env);
    const problems = next.ok ? this.#takeUpTls(next) : next.problems;
    if (!next.ok || problems.length > 0) {
      const error = problems.map(formatProblemLine).join("\n");
      this.#lastReload = { at: Date.now(), outcome: "failure", error, needsRestart: [] };
      // The files that were read stay watched, and so does what a mended configuration would name.
      const named = [...previous.files.keys()].map((file) => [file, null] as const);
      this.#prepared = { ...previous, files: new Map([...named, ...next.files]) };
      metrics.configReloaded("failure");
      log("error", "config_refused", { problems: error, generation: this.#current().generation });
      return false;
    }
    const needsRestart = restartMembers(previous.config, next.config);
    const { prepared, problems: keyringProblems } = await withRunningKeyring(withRunning(next, previous.config));
    this.#prepared = prepared;
    this.#upstreams = this.#upstreams.replace(next.compiled.upstreams);
    if (prepared.keyring !== null) this.#keys?.replaceKeyring(prepared.keyring);
    this.#snapshot = this.#makeSnapshot(this.#current().generation + 1);
    this.telemetry.configure({ log: next.config.log, keyPrefix: next.config.keys.prefix }, subjectsOf(next));
    this.#lastReload = { at: Date.now(), outcome: "success", error: null, needsRestart };
    metrics.configReloaded("success");
    metrics.configGeneration(this.#snapshot.generation);
    log("info", "config_reloaded", { generation: this.#snapshot.generation, routes: next.config.routes.length });
    if (needsRestart.length > 0) log("warn", "config_needs_restart", { members: needsRestart.join(", ") });
    if (keyringProblems.length > 0) {
      log("error", "keyring_refused", { problems: keyringProblems.map(formatProblemLine).join("\n") });
    }
    this.#warn(next.compiled.warnings);
    return true;
  }

  /** A certificate that can not be used is a mistake like any other, found before anything is swapped. */
  #takeUpTls({ config }: Prepared): readonly Problem[] {
    const material = tlsMaterial(config);
    if (material === null || tlsMaterial(this.#prepared.config) === null) return [];
    try {
      this.#listener?.renewTls(material);
      return [];
    } catch (error) {
      const message = `the certificate and key can not be used: ${asError(error).message}`;
      return [{ file: this.#options.configPath, line: 1, column: 1, message, sourceLine: "" }];
    }
  }
}

function subjectsOf({ config, compiled }: Prepared): MetricSubjects {
  return {
    routes: compiled.table.routes.map(({ name, match }) => ({ name, methods: match.methods })),
    upstreams: config.upstreams.map(({ name }, index) => ({
      name,
      targets: compiled.upstreams[index]?.targets.map(({ url }) => url) ?? [],
    })),
  };
}

function listenOptions(address: ListenAddress): ListenOptions {
  return address.kind === "unix" ? { path: address.path } : { host: address.host, port: address.port };
}

/** Certificate and key as texts: `load.ts` has put the files' contents in their places. */
function tlsMaterial({ tls }: Config): TlsMaterial | null {
  return tls === undefined ? null : { cert: tls.cert as string, key: tls.key as string };
}

/** Descriptors that are not for clients and their upstream connections: files, listeners, Redis, the log. */
const OWN_DESCRIPTORS = 64;

/** `wanted`, or what the process's descriptors allow: each client may need one more for its upstream. */
function connectionLimit(wanted: number): number {
  const limits = readLimits();
  const allowed = /^Max open files\s+(\d+)/m.exec(limits)?.[1];
  if (allowed === undefined) return wanted;
  return Math.max(1, Math.min(wanted, Math.floor((Number(allowed) - OWN_DESCRIPTORS) / 2)));
}

/** Linux tells; elsewhere the configured number stands. */
function readLimits(): string {
  try {
    return readFileSync("/proc/self/limits", "utf8");
  } catch {
    return "";
  }
}

/** The tiers that a look-up can be answered by. */
function tiersOf({ config, compiled }: Prepared): readonly Tier[] {
  const { source, cache } = config.keys;
  if (source.type === "file") return ["file"];
  if (source.type === "redis") return ["memory", "redis"];
  return compiled.redis !== null && cache.shared ? ["memory", "redis", "http"] : ["memory", "http"];
}
