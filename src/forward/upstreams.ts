import type { UpstreamEngine, UpstreamErrorReason, UpstreamOrigin, UpstreamTls } from "./forwarder.ts";

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
   * The next generation. Origins that are the same stay the same object, so that their connections live on; the pools of
   * the others are closed once idle. Requests that still run on this generation finish on it.
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
  /** The next target by smooth weighted round robin among the healthy, another than `except` where there is one; null: none is healthy. */
  pick(except: UpstreamTarget | null): UpstreamTarget | null;
  /** An answer began: failures in a row start anew. */
  succeeded(target: UpstreamTarget): void;
  failed(target: UpstreamTarget, reason: UpstreamErrorReason): void;
}

export declare function createUpstreams(
  settings: readonly UpstreamSettings[],
  engine: UpstreamEngine,
  deps: UpstreamsDeps,
): Upstreams;
