import type { Verdict } from "../decide.ts";
import { type Exchange, gatewayMs, upstreamMs } from "../exchange.ts";
import type { UpstreamErrorReason } from "../forward/forwarder.ts";
import type { UpstreamObserver } from "../forward/upstreams.ts";
import type { LookupObserver, LookupOutcome, Tier } from "../keys/source.ts";
import { formatExposition, mergeSnapshots, type Snapshot } from "./exposition.ts";
import {
  type Cell,
  cellFamily,
  type Family,
  type Histogram,
  histogramFamily,
  type MetricDefinition,
} from "./instruments.ts";

/** The `route` of requests that no route matched, or that were refused before one was looked for. */
export const NO_ROUTE = "_none";

/** The `method` (and `status`) of everything outside the closed list. */
export const OTHER = "_OTHER";

const REQUEST_BUCKETS = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10];
const GATEWAY_BUCKETS = [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25];
const LOOKUP_BUCKETS = [
  0.00001, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5,
];
const LAG_BUCKETS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300];

/** Every metric of our own, in the order they are shown. `docs/metrics.md` derives from it. */
export const METRICS = {
  requests: counter(
    "sentinel_requests_total",
    "Requests that ended, by the status sent to the client (499: it left before).",
    ["route", "method", "status"],
  ),
  requestDuration: histogram(
    "sentinel_request_duration_seconds",
    "Seconds from the arrival of a request to the end of its answer.",
    ["route"],
    REQUEST_BUCKETS,
  ),
  gatewayDuration: histogram(
    "sentinel_gateway_duration_seconds",
    "Seconds of a request that the gateway itself took, without the upstream and without waiting for the client's body.",
    ["route"],
    GATEWAY_BUCKETS,
  ),
  requestsInFlight: gauge("sentinel_requests_in_flight", "Requests that have arrived and not ended.", [], "sum"),
  requestsShed: counter("sentinel_requests_shed_total", "Connections or requests turned away to protect the gateway.", [
    "reason",
  ]),
  verdicts: counter("sentinel_verdicts_total", "Outcomes of identifying and authorising a request.", [
    "route",
    "verdict",
  ]),
  keyLookups: counter("sentinel_key_lookups_total", "Look-ups of root keys, by the tier that was asked.", [
    "tier",
    "outcome",
  ]),
  keyLookupDuration: histogram(
    "sentinel_key_lookup_duration_seconds",
    "Seconds that a tier took to answer a look-up.",
    ["tier"],
    LOOKUP_BUCKETS,
  ),
  keyCacheEntries: gauge("sentinel_key_cache_entries", "Records and remembered misses in memory.", [], "sum"),
  revocationLag: histogram(
    "sentinel_revocation_lag_seconds",
    "Seconds from a change to a key record until this process acted on it.",
    [],
    LAG_BUCKETS,
  ),
  upstreamDuration: histogram(
    "sentinel_upstream_duration_seconds",
    "Seconds from handing a request to an upstream to the end of its answer.",
    ["upstream"],
    REQUEST_BUCKETS,
  ),
  upstreamErrors: counter("sentinel_upstream_errors_total", "Exchanges with an upstream that failed.", [
    "upstream",
    "reason",
  ]),
  upstreamHealthy: gauge(
    "sentinel_upstream_healthy",
    "1 while a target gets requests, 0 while it is out.",
    ["upstream", "target"],
    "min",
  ),
  redisUp: gauge("sentinel_redis_up", "1 while Redis answers; absent where none is configured.", [], "min"),
  configGeneration: gauge("sentinel_config_generation", "Configurations taken up since the start.", [], "max"),
  configReloads: counter(
    "sentinel_config_reloads_total",
    "Attempts to take up a changed configuration or keyring.",
    ["outcome"],
    "max",
  ),
  configReloadSuccessful: gauge(
    "sentinel_config_last_reload_successful",
    "1 when the last attempt to take up a change succeeded, 0 when the last good state was kept instead.",
    [],
    "min",
  ),
  logLinesDropped: counter(
    "sentinel_log_lines_dropped_total",
    "Log lines given up because the log's sink took no more.",
    [],
  ),
  buildInfo: gauge("sentinel_build_info", "Always 1; the version is in the label.", ["version"], "max"),
} as const satisfies Record<string, MetricDefinition>;

export const METRIC_DEFINITIONS: readonly MetricDefinition[] = Object.values(METRICS);

export type VerdictLabel = Exclude<Verdict["label"], null>;

export const VERDICTS: readonly VerdictLabel[] = [
  "allowed",
  "open",
  "missing",
  "malformed",
  "key_not_found",
  "key_expired",
  "key_disabled",
  "workspace_disabled",
  "insufficient_permissions",
  "invalid_resource_id",
  "source_unavailable",
];

/** The closed list of the `method` label. */
export const METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE"] as const;

/** What a route that names no methods starts with. */
export const USUAL_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

/** The statuses of each method of a route that are there, at zero, before the first request. Others come when they occur. */
export const INITIAL_STATUSES = [200, 400, 401, 403, 500, 502, 503, 504];

export const UPSTREAM_ERROR_REASONS: readonly UpstreamErrorReason[] = [
  "refused",
  "connect_timeout",
  "response_timeout",
  "idle_timeout",
  "reset",
  "invalid_response",
];

export const LOOKUP_OUTCOMES: readonly LookupOutcome[] = ["hit", "miss", "absent", "stale", "error", "invalid"];

/** Why something was turned away: more connections than `limits.maxConnections`, or more work than the process can do. */
export type ShedReason = "connections" | "overload";

/** What the metrics are about: all of its series are there from the moment this is said. */
export interface MetricSubjects {
  readonly routes: readonly MeasuredRoute[];
  readonly upstreams: readonly MeasuredUpstream[];
}

export interface MeasuredRoute {
  readonly name: string;
  /** Null: any. */
  readonly methods: readonly string[] | null;
}

export interface MeasuredUpstream {
  readonly name: string;
  /** As `sentinel_upstream_healthy` names them: `http://10.0.0.1:3000`. */
  readonly targets: readonly string[];
}

export interface MetricsOptions extends MetricSubjects {
  /** The tiers of the key source in use. */
  readonly tiers: readonly Tier[];
  /** Whether there is a Redis: where there is none, `sentinel_redis_up` is absent. */
  readonly redis: boolean;
  readonly version: string;
}

/** The metrics of one process. Everything a request touches is a few additions; text is made by a scrape. */
export interface Metrics extends LookupObserver, UpstreamObserver {
  /** A request arrived. Each is followed by one `requestEnded`. */
  requestBegan(): void;
  /** It is over: counts it, its verdict and its times. */
  requestEnded(exchange: Exchange): void;
  /** Those that arrived and are not over. */
  readonly requestsInFlight: number;
  shed(reason: ShedReason): void;
  redisUp(up: boolean): void;
  /** A change to a key record was acted on, `seconds` after it was made. */
  revocationLag(seconds: number): void;
  /** Asked at each scrape. */
  measureCacheEntries(count: () => number): void;
  configGeneration(generation: number): void;
  configReloaded(outcome: "success" | "failure"): void;
  logLinesDropped(lines: number): void;
  /**
   * After a reload: series of new routes and upstreams appear at zero, those of the same name go on, those of removed
   * ones stay until the process ends (so that nothing counted is lost). Removed targets are no longer shown as healthy.
   */
  configure(subjects: MetricSubjects): void;
  snapshot(): Snapshot;
}

/** Starts at zero, with every series of the routes and upstreams given. */
export function createMetrics(options: MetricsOptions): Metrics {
  return new ProcessMetrics(options);
}

/** The text of a scrape of one process, or of several as one. */
export function formatMetrics(...snapshots: readonly Snapshot[]): string {
  const [only] = snapshots;
  const whole = snapshots.length === 1 && only !== undefined ? only : mergeSnapshots(METRIC_DEFINITIONS, snapshots);
  return formatExposition(METRIC_DEFINITIONS, whole);
}

class ProcessMetrics implements Metrics {
  private readonly requests = cellFamily(METRICS.requests);
  private readonly requestDuration = histogramFamily(METRICS.requestDuration);
  private readonly gatewayDuration = histogramFamily(METRICS.gatewayDuration);
  private readonly inFlight: Cell;
  private readonly verdicts = cellFamily(METRICS.verdicts);
  private readonly upstreamDuration = histogramFamily(METRICS.upstreamDuration);
  private readonly upstreamErrors = cellFamily(METRICS.upstreamErrors);
  private readonly upstreamHealth = cellFamily(METRICS.upstreamHealthy);
  private readonly lookups = cellFamily(METRICS.keyLookups);
  private readonly lookupDuration = histogramFamily(METRICS.keyLookupDuration);
  private readonly cacheEntries: Cell;
  private readonly lag: Histogram;
  private readonly redis: Cell | null;
  private readonly generation: Cell;
  private readonly reloads = cellFamily(METRICS.configReloads);
  private readonly reloadSuccessful: Cell;
  private readonly dropped: Cell;
  private readonly sheds = cellFamily(METRICS.requestsShed);

  private readonly families: Family<Cell | Histogram>[] = [];
  private readonly routes = new Map<string, RouteSeries>();
  private readonly noRoute: RouteSeries;
  private readonly upstreams = new Map<string, Histogram>();
  private readonly tiers = new Map<Tier, TierSeries>();
  private countCacheEntries: (() => number) | null = null;

  constructor(options: MetricsOptions) {
    this.inFlight = this.single(METRICS.requestsInFlight);
    this.cacheEntries = this.single(METRICS.keyCacheEntries);
    this.redis = options.redis ? this.single(METRICS.redisUp) : null;
    this.generation = this.single(METRICS.configGeneration);
    this.reloadSuccessful = this.single(METRICS.configReloadSuccessful);
    this.reloadSuccessful.value = 1;
    this.dropped = this.single(METRICS.logLinesDropped);
    const lag = histogramFamily(METRICS.revocationLag);
    this.lag = lag.of();
    const build = cellFamily(METRICS.buildInfo);
    build.of(options.version).value = 1;
    this.families.push(this.requests, this.requestDuration, this.gatewayDuration, this.verdicts, this.sheds);
    this.families.push(this.upstreamDuration, this.upstreamErrors, this.upstreamHealth);
    this.families.push(this.lookups, this.lookupDuration, this.reloads, lag, build);

    for (const reason of ["connections", "overload"] satisfies ShedReason[]) this.sheds.of(reason);
    for (const outcome of ["success", "failure"]) this.reloads.of(outcome);
    for (const tier of options.tiers) this.tier(tier);
    this.noRoute = this.route(NO_ROUTE, ["GET"]);
    this.noRoute.request("GET", 404);
    this.configure(options);
  }

  requestBegan(): void {
    this.inFlight.value++;
  }

  requestEnded(exchange: Exchange): void {
    this.inFlight.value--;
    const { route, verdict, upstream } = exchange;
    const series = route === null ? this.noRoute : this.route(route.name, route.match.methods);
    series.request(exchange.head?.method ?? exchange.client.method ?? OTHER, exchange.status).value++;
    series.duration.observe((exchange.endedAt - exchange.startedAt) / 1000);
    series.gatewayDuration.observe(gatewayMs(exchange) / 1000);
    if (verdict !== null) series.verdict(verdict).value++;
    const forwarded = upstreamMs(exchange);
    if (upstream !== null && forwarded !== null) this.upstream(upstream).observe(forwarded / 1000);
  }

  get requestsInFlight(): number {
    return this.inFlight.value;
  }

  shed(reason: ShedReason): void {
    this.sheds.of(reason).value++;
  }

  lookup(tier: Tier, outcome: LookupOutcome, seconds: number): void {
    const series = this.tier(tier);
    series.outcomes[outcome].value++;
    series.duration.observe(seconds);
  }

  upstreamError(upstream: string, reason: UpstreamErrorReason): void {
    this.upstreamErrors.of(upstream, reason).value++;
  }

  upstreamHealthy(upstream: string, target: string, healthy: boolean): void {
    // A target that was removed by a reload may still report: it has no series any more.
    const cell = this.upstreamHealth.find(upstream, target);
    if (cell !== null) cell.value = healthy ? 1 : 0;
  }

  redisUp(up: boolean): void {
    if (this.redis !== null) this.redis.value = up ? 1 : 0;
  }

  revocationLag(seconds: number): void {
    this.lag.observe(seconds);
  }

  measureCacheEntries(count: () => number): void {
    this.countCacheEntries = count;
  }

  configGeneration(generation: number): void {
    this.generation.value = generation;
  }

  configReloaded(outcome: "success" | "failure"): void {
    this.reloads.of(outcome).value++;
    this.reloadSuccessful.value = outcome === "success" ? 1 : 0;
  }

  logLinesDropped(lines: number): void {
    this.dropped.value += lines;
  }

  configure(subjects: MetricSubjects): void {
    for (const route of subjects.routes) this.route(route.name, route.methods);
    const kept = new Set<Cell>();
    for (const { name, targets } of subjects.upstreams) {
      this.upstream(name);
      for (const target of targets) kept.add(this.target(name, target));
    }
    this.upstreamHealth.retain(kept);
  }

  snapshot(): Snapshot {
    this.cacheEntries.value = this.countCacheEntries?.() ?? 0;
    return Object.fromEntries(this.families.map((family) => [family.definition.name, family.collect()]));
  }

  private single(definition: MetricDefinition): Cell {
    const family = cellFamily(definition);
    this.families.push(family);
    return family.of();
  }

  private route(name: string, methods: readonly string[] | null): RouteSeries {
    const known = this.routes.get(name);
    if (known !== undefined) return known;
    const made = new RouteSeries(name, this.requests, this.verdicts, {
      duration: this.requestDuration.of(name),
      gatewayDuration: this.gatewayDuration.of(name),
    });
    if (name !== NO_ROUTE) made.begin(methods ?? USUAL_METHODS);
    this.routes.set(name, made);
    return made;
  }

  private upstream(name: string): Histogram {
    const known = this.upstreams.get(name);
    if (known !== undefined) return known;
    const made = this.upstreamDuration.of(name);
    for (const reason of UPSTREAM_ERROR_REASONS) this.upstreamErrors.of(name, reason);
    this.upstreams.set(name, made);
    return made;
  }

  private tier(tier: Tier): TierSeries {
    const known = this.tiers.get(tier);
    if (known !== undefined) return known;
    const outcomes = Object.fromEntries(LOOKUP_OUTCOMES.map((outcome) => [outcome, this.lookups.of(tier, outcome)]));
    const made = { outcomes: outcomes as Record<LookupOutcome, Cell>, duration: this.lookupDuration.of(tier) };
    this.tiers.set(tier, made);
    return made;
  }

  /** Healthy until somebody says otherwise; one that was out stays out over a reload. */
  private target(upstream: string, target: string): Cell {
    const known = this.upstreamHealth.find(upstream, target);
    if (known !== null) return known;
    const made = this.upstreamHealth.of(upstream, target);
    made.value = 1;
    return made;
  }
}

interface TierSeries {
  readonly outcomes: Record<LookupOutcome, Cell>;
  readonly duration: Histogram;
}

/** One route's series, found once per request by the route's name. */
class RouteSeries {
  readonly duration: Histogram;
  readonly gatewayDuration: Histogram;
  private readonly name: string;
  private readonly requests: Family<Cell>;
  private readonly verdictFamily: Family<Cell>;
  /** By method and status in one number: a look-up without making a string. */
  private readonly byMethodAndStatus = new Map<number, Cell>();
  private readonly verdicts = new Map<VerdictLabel, Cell>();

  constructor(
    name: string,
    requests: Family<Cell>,
    verdicts: Family<Cell>,
    times: { duration: Histogram; gatewayDuration: Histogram },
  ) {
    this.name = name;
    this.requests = requests;
    this.verdictFamily = verdicts;
    this.duration = times.duration;
    this.gatewayDuration = times.gatewayDuration;
  }

  begin(methods: readonly string[]): void {
    const all = methods.includes("GET") && !methods.includes("HEAD") ? [...methods, "HEAD"] : methods;
    for (const method of all) for (const status of INITIAL_STATUSES) this.request(method, status);
    for (const verdict of VERDICTS) this.verdict(verdict);
  }

  request(method: string, status: number): Cell {
    const methodSlot = METHOD_SLOTS.get(method) ?? 0;
    const statusSlot = status >= 100 && status <= 599 ? status : 0;
    const slot = methodSlot * 1000 + statusSlot;
    const known = this.byMethodAndStatus.get(slot);
    if (known !== undefined) return known;
    const methodLabel = methodSlot === 0 ? OTHER : method;
    const made = this.requests.of(this.name, methodLabel, statusSlot === 0 ? OTHER : String(status));
    this.byMethodAndStatus.set(slot, made);
    return made;
  }

  verdict(verdict: VerdictLabel): Cell {
    const known = this.verdicts.get(verdict);
    if (known !== undefined) return known;
    const made = this.verdictFamily.of(this.name, verdict);
    this.verdicts.set(verdict, made);
    return made;
  }
}

const METHOD_SLOTS: ReadonlyMap<string, number> = new Map(METHODS.map((method, at) => [method, at + 1]));

function counter(
  name: string,
  help: string,
  labels: readonly string[],
  aggregate: MetricDefinition["aggregate"] = "sum",
): MetricDefinition {
  return { name, type: "counter", help, labels, aggregate };
}

function gauge(
  name: string,
  help: string,
  labels: readonly string[],
  aggregate: MetricDefinition["aggregate"],
): MetricDefinition {
  return { name, type: "gauge", help, labels, aggregate };
}

function histogram(
  name: string,
  help: string,
  labels: readonly string[],
  buckets: readonly number[],
): MetricDefinition {
  return { name, type: "histogram", help, labels, aggregate: "sum", buckets };
}
