import type { EpochMs } from "../keys/root-key.ts";

/** What the admin listener shows of a running gateway. Nothing in it is secret. */
export interface AdminState {
  readonly version: string;
  readonly startedAt: EpochMs;
  /** Where the configuration was read from. */
  readonly configFile: string;
  /** 1 for the configuration of the start; each one taken up adds one. */
  readonly generation: number;
  /** Null: none yet. */
  readonly lastReload: LastReload | null;
  /** What readiness depends on; all must be ok. */
  readonly checks: readonly ReadinessCheck[];
  /** Where clients connect: `http://127.0.0.1:8080`. */
  readonly addresses: readonly string[];
  /** Processes that serve requests. */
  readonly workers: number;
  readonly routes: readonly RouteState[];
  readonly upstreams: readonly UpstreamState[];
  readonly keys: KeysState;
  /** Null: none is configured. */
  readonly redis: { readonly up: boolean; readonly reason: string } | null;
}

/** `reason` is for people and empty when ok; it never holds a secret. */
export interface ReadinessCheck {
  readonly name: CheckName;
  readonly ok: boolean;
  readonly reason: string;
}

export type CheckName = "configuration" | "listener" | "keys" | "draining" | "workers";

export interface LastReload {
  readonly at: EpochMs;
  readonly outcome: "success" | "failure";
  /** `file:line:col: message` of each mistake; null when it succeeded. */
  readonly error: string | null;
  /** Changes that only a restart takes up, such as `listen`. */
  readonly needsRestart: readonly string[];
}

export interface RouteState {
  readonly name: string;
  /** Null: any. */
  readonly host: string | null;
  /** Null: any. */
  readonly methods: readonly string[] | null;
  /** `/a/{id}`, or `/a/**` for a prefix. Null: any. */
  readonly path: string | null;
  /** `open`, or what the key must be granted; empty: any valid key. */
  readonly access: { readonly open: boolean; readonly permissions: string };
  readonly upstream: string;
}

export interface UpstreamState {
  readonly name: string;
  readonly targets: readonly { readonly url: string; readonly healthy: boolean }[];
}

export interface KeysState {
  readonly source: "file" | "redis" | "http";
  readonly ready: boolean;
  readonly reason: string;
  /** Records and remembered misses in memory; for a file, its keys. */
  readonly entries: number;
}

export function isReady(state: AdminState): boolean {
  return state.checks.every((check) => check.ok);
}
