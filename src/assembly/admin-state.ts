import type { AdminState, LastReload, ReadinessCheck, RouteState, UpstreamState } from "../admin/state.ts";
import { formatHostPattern } from "../routes/host.ts";
import { formatPathPattern } from "../routes/pattern.ts";
import type { Route } from "../routes/route.ts";
import type { OpenedKeys } from "./open-keys.ts";
import type { Prepared } from "./prepare.ts";

/** What is known of a running gateway at one moment. */
export interface GatewayFacts {
  readonly version: string;
  readonly startedAt: number;
  readonly configFile: string;
  readonly prepared: Prepared;
  /** 0: none is in force yet. */
  readonly generation: number;
  readonly lastReload: LastReload | null;
  /** `http://127.0.0.1:8080`; null until clients can connect. */
  readonly address: string | null;
  readonly draining: boolean;
  readonly keys: OpenedKeys | null;
  /** By upstream name and target url. */
  readonly isHealthy: (upstream: string, target: string) => boolean;
}

/** The facts as the admin listener shows them. */
export function describeGateway(facts: GatewayFacts): AdminState {
  const { prepared, keys } = facts;
  const readiness = keys?.source.readiness() ?? { ready: false, reason: "the key source is not open yet" };
  return {
    version: facts.version,
    startedAt: facts.startedAt,
    configFile: facts.configFile,
    generation: facts.generation,
    lastReload: facts.lastReload,
    checks: [
      check("configuration", facts.generation > 0, "no configuration is in force yet"),
      check("listener", facts.address !== null, "clients can not connect yet"),
      check("keys", readiness.ready, readiness.reason),
      check("draining", !facts.draining, "shutting down"),
    ],
    addresses: facts.address === null ? [] : [facts.address],
    workers: 1,
    routes: prepared.compiled.table.routes.map(describeRoute),
    upstreams: describeUpstreams(facts),
    keys: { source: prepared.config.keys.source.type, ...readiness, entries: keys?.entries() ?? 0 },
    redis: keys?.redis() ?? null,
  };
}

function check(name: ReadinessCheck["name"], ok: boolean, reason: string): ReadinessCheck {
  return { name, ok, reason: ok ? "" : reason };
}

function describeRoute(route: Route): RouteState {
  const { host, methods, path } = route.match;
  return {
    name: route.name,
    host: host.kind === "any" ? null : formatHostPattern(host),
    methods,
    path: path.kind === "any" ? null : formatPathPattern(path),
    access: {
      open: route.access.kind === "open",
      permissions: route.access.kind === "rootKey" ? (route.access.requires?.text ?? "") : "",
    },
    upstream: route.upstream,
  };
}

function describeUpstreams({ prepared, isHealthy }: GatewayFacts): UpstreamState[] {
  return prepared.compiled.upstreams.map(({ name, targets }) => ({
    name,
    targets: targets.map(({ url }) => ({ url, healthy: isHealthy(name, url) })),
  }));
}
