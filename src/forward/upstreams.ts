import type { UpstreamEngine, UpstreamError, UpstreamErrorReason, UpstreamOrigin, UpstreamTls } from "./forwarder.ts";
import { HealthCheck } from "./health-check.ts";

/** An upstream as the configuration describes it, compiled. */
export interface UpstreamSettings {
  readonly name: string;
  readonly targets: readonly TargetSettings[];
  readonly timeouts: { readonly connectMs: number; readonly responseMs: number; readonly idleMs: number };
  /** Null: no active checks. */
  readonly healthCheck: { readonly path: string; readonly intervalMs: number; readonly timeoutMs: number } | null;
}

export interface TargetSettings {
  /** As the configuration spells it: the metric label `target`. */
  readonly url: string;
  /** Without brackets where it is an IPv6 address. */
  readonly hostname: string;
  readonly port: number;
  /** Null for `http://`. */
  readonly tls: UpstreamTls | null;
  /** At least 1. */
  readonly weight: number;
}

/** What a target is called in a Host field: without the port where it is the scheme's own. */
export function formatAuthority({ hostname, port, tls }: TargetSettings): string {
  const host = hostname.includes(":") ? `[${hostname}]` : hostname;
  return port === (tls === null ? 80 : 443) ? host : `${host}:${port}`;
}

/** Hears what happens to upstreams: metrics and the log of state changes. */
export interface UpstreamObserver {
  /** Told once for every target at the start, then on each change. `target` is its url. */
  upstreamHealthy(upstream: string, target: string, healthy: boolean): void;
  /** A failed try at an upstream, also one that is retried. */
  upstreamError(upstream: string, reason: UpstreamErrorReason): void;
}

export interface UpstreamsDeps {
  readonly observer?: UpstreamObserver;
  /** Runs `task` once after `delayMs`; the answer calls it off. Unless given: an unref'd setTimeout. */
  readonly schedule?: (task: () => void, delayMs: number) => () => void;
}

/** The upstreams of one configuration generation: part of the snapshot that a request reads once. */
export interface Upstreams {
  find(name: string): Upstream | null;
  /**
   * The next generation. Origins that are the same stay the same object, so that their connections live on; the pools
   * of the others are closed once idle. Requests that still run on this generation finish on it.
   */
  replace(settings: readonly UpstreamSettings[]): Upstreams;
  /** Ends the health checks. */
  close(): void;
}

/** A target among an upstream's. */
export interface UpstreamTarget {
  readonly url: string;
  readonly origin: UpstreamOrigin;
  /** What Host says for it: hostname (IPv6 in brackets), and the port unless it is the scheme's own. */
  readonly authority: string;
}

export interface Upstream {
  readonly name: string;
  readonly timeouts: UpstreamSettings["timeouts"];
  /**
   * The next target by smooth weighted round robin among the healthy, another than `except` where there is one. Where
   * none is healthy, one that is out for failures of requests alone; null: there is none of those either.
   */
  pick(except: UpstreamTarget | null): UpstreamTarget | null;
  /**
   * The next target for what `except` could not take: as `pick`, but rather one that is out for failures of requests
   * than `except` again. Null: there is no other.
   */
  pickOther(except: UpstreamTarget): UpstreamTarget | null;
  /** An answer began: failures in a row start anew. */
  succeeded(target: UpstreamTarget): void;
  failed(target: UpstreamTarget, error: UpstreamError): void;
}

/** Starts the active checks of `settings`; every target counts as healthy until it was found not to be. */
export function createUpstreams(
  settings: readonly UpstreamSettings[],
  engine: UpstreamEngine,
  deps: UpstreamsDeps = {},
): Upstreams {
  return new Generation(settings, { engine, observer: deps.observer ?? null, schedule: deps.schedule ?? later }, null);
}

/** Failures in a row that put a target out, and for how long. */
const FAILURES_TO_EJECT = 5;
const EJECTION_MS = 10_000;

interface Deps {
  readonly engine: UpstreamEngine;
  readonly observer: UpstreamObserver | null;
  readonly schedule: NonNullable<UpstreamsDeps["schedule"]>;
}

class Generation implements Upstreams {
  private readonly deps: Deps;
  private readonly byName = new Map<string, BalancedUpstream>();

  constructor(settings: readonly UpstreamSettings[], deps: Deps, previous: Generation | null) {
    this.deps = deps;
    for (const upstream of settings) {
      const former = previous?.byName.get(upstream.name) ?? null;
      this.byName.set(upstream.name, new BalancedUpstream(upstream, deps, former));
    }
  }

  find(name: string): Upstream | null {
    return this.byName.get(name) ?? null;
  }

  replace(settings: readonly UpstreamSettings[]): Upstreams {
    this.close();
    const next = new Generation(settings, this.deps, this);
    const kept = next.origins();
    for (const origin of this.origins()) if (!kept.has(origin)) this.deps.engine.forget(origin);
    return next;
  }

  close(): void {
    for (const upstream of this.byName.values()) upstream.close();
  }

  private origins(): Set<UpstreamOrigin> {
    return new Set([...this.byName.values()].flatMap(({ targets }) => targets.map(({ origin }) => origin)));
  }
}

class BalancedUpstream implements Upstream {
  readonly name: string;
  readonly timeouts: UpstreamSettings["timeouts"];
  readonly targets: readonly Target[];
  private readonly slots: readonly Slot[];
  private readonly deps: Deps;
  private readonly checks: readonly HealthCheck[];

  /** Targets that `former` had keep their connections and their standing. */
  constructor(settings: UpstreamSettings, deps: Deps, former: BalancedUpstream | null) {
    this.name = settings.name;
    this.timeouts = settings.timeouts;
    this.deps = deps;
    this.slots = settings.targets.map((target) => {
      const known = former?.targets.find((candidate) => isSameTarget(candidate, target));
      return { target: known ?? new Target(target), weight: target.weight, current: 0 };
    });
    this.targets = this.slots.map(({ target }) => target);
    const { healthCheck } = settings;
    if (healthCheck === null) for (const target of this.targets) target.checkedOut = false;
    for (const target of this.targets) deps.observer?.upstreamHealthy(this.name, target.url, target.healthy);
    this.checks =
      healthCheck === null
        ? []
        : this.targets.map((target) => new HealthCheck(target, healthCheck, deps, () => this.tellHealth(target)));
  }

  pick(except: UpstreamTarget | null): UpstreamTarget | null {
    if (this.slots.length === 1 && this.slots[0]!.target.healthy) return this.slots[0]!.target;
    return this.next(isHealthy, except) ?? this.next(isHealthy, null) ?? this.lastResort(null);
  }

  pickOther(except: UpstreamTarget): UpstreamTarget | null {
    return this.next(isHealthy, except) ?? this.lastResort(except);
  }

  succeeded(given: UpstreamTarget): void {
    const target = given as Target;
    target.failures = 0;
    if (target.onTrial) this.takeBack(target);
  }

  failed(given: UpstreamTarget, error: UpstreamError): void {
    this.deps.observer?.upstreamError(this.name, error.reason);
    // A pooled connection that the upstream had closed meanwhile says nothing of its health.
    if (error.reusedSocket && error.reason === "reset" && !error.answerBegun) return;
    const target = given as Target;
    target.failures += 1;
    if (target.failures < FAILURES_TO_EJECT || !target.healthy) return;
    const out = this.targets.filter(({ healthy }) => !healthy).length;
    if (2 * (out + 1) > this.targets.length) return;
    target.ejected = true;
    this.tellHealth(target);
    // Its count of failures stands, so that one more puts it out again.
    target.endEjection = this.deps.schedule(() => this.takeBack(target), EJECTION_MS);
  }

  close(): void {
    for (const check of this.checks) check.close();
  }

  /**
   * What put a target out may be over: of two that restart one after the other the first is back long before its ten
   * seconds are, and the other can not be put out as well.
   */
  private lastResort(except: UpstreamTarget | null): Target | null {
    const target = this.next(isEjected, except);
    if (target !== null) target.onTrial = true;
    return target;
  }

  private takeBack(target: Target): void {
    target.ejected = false;
    target.onTrial = false;
    target.endEjection();
    this.tellHealth(target);
  }

  /** Smooth weighted round robin: each slot that fits gains its weight, the richest is taken and pays what all gained. */
  private next(fits: (target: Target) => boolean, except: UpstreamTarget | null): Target | null {
    let best: Slot | null = null;
    let total = 0;
    for (const slot of this.slots) {
      if (!fits(slot.target) || slot.target === except) continue;
      slot.current += slot.weight;
      total += slot.weight;
      if (best === null || slot.current > best.current) best = slot;
    }
    if (best === null) return null;
    best.current -= total;
    return best.target;
  }

  private tellHealth(target: Target): void {
    this.deps.observer?.upstreamHealthy(this.name, target.url, target.healthy);
  }
}

interface Slot {
  readonly target: Target;
  readonly weight: number;
  current: number;
}

/** Lives as long as the configuration names it, across generations. */
class Target implements UpstreamTarget {
  readonly url: string;
  readonly origin: UpstreamOrigin;
  readonly authority: string;
  /** In a row. */
  failures = 0;
  /** Out for a while, for failures of ordinary requests. */
  ejected = false;
  /** Tried all the same, for want of others: an answer brings it back before its time. */
  onTrial = false;
  /** Calls off its coming back. */
  endEjection: () => void = () => {};
  /** Out by the active check. */
  checkedOut = false;

  constructor(settings: TargetSettings) {
    const { url, hostname, port, tls } = settings;
    this.url = url;
    this.origin = { hostname, port, tls };
    this.authority = formatAuthority(settings);
  }

  get healthy(): boolean {
    return !this.ejected && !this.checkedOut;
  }
}

function isHealthy(target: Target): boolean {
  return target.healthy;
}

/** Out for failures of requests, and for nothing that a check found. */
function isEjected(target: Target): boolean {
  return target.ejected && !target.checkedOut;
}

function isSameTarget(known: Target, { url, hostname, port, tls }: TargetSettings): boolean {
  const { origin } = known;
  return known.url === url && origin.hostname === hostname && origin.port === port && isSameTls(origin.tls, tls);
}

function isSameTls(a: UpstreamTls | null, b: UpstreamTls | null): boolean {
  if (a === null || b === null) return a === b;
  const same = (x: string | Buffer | null, y: string | Buffer | null) =>
    x === y || (x !== null && y !== null && Buffer.from(x).equals(Buffer.from(y)));
  return a.serverName === b.serverName && same(a.ca, b.ca) && same(a.cert, b.cert) && same(a.key, b.key);
}

/** Runs `task` after `delayMs` without keeping the process alive. */
function later(task: () => void, delayMs: number): () => void {
  const timer = setTimeout(task, delayMs);
  timer.unref();
  return () => clearTimeout(timer);
}
