import { spawnSync } from "node:child_process";
import { describe, expect, it } from "vitest";
import { formatMetrics, METRIC_DEFINITIONS } from "../../src/telemetry/metrics.ts";
import { collectScrape, formatScrapes } from "../../src/telemetry/scrape.ts";
import { hasProgram } from "../support/programs.ts";
import { exchangeOf, metricsFor, PEER, routeNamed, sample, seriesCount } from "./support.ts";

const hasPromtool = hasProgram("promtool");

describe("before the first request", () => {
  it("shows every series of a configured route at zero", () => {
    const text = formatMetrics(metricsFor().snapshot());
    for (const status of [200, 401, 403, 502, 503, 504]) {
      expect(sample(text, `sentinel_requests_total{route="read-api",method="GET",status="${status}"}`)).toBe(0);
    }
    expect(sample(text, 'sentinel_requests_total{route="read-api",method="HEAD",status="200"}')).toBe(0);
    expect(sample(text, 'sentinel_requests_total{route="_none",method="GET",status="404"}')).toBe(0);
    for (const verdict of ["allowed", "open", "missing", "key_expired", "invalid_resource_id", "source_unavailable"]) {
      expect(sample(text, `sentinel_verdicts_total{route="read-api",verdict="${verdict}"}`)).toBe(0);
    }
    expect(sample(text, 'sentinel_request_duration_seconds_count{route="read-api"}')).toBe(0);
    expect(sample(text, 'sentinel_gateway_duration_seconds_bucket{route="read-api",le="0.0001"}')).toBe(0);
    expect(sample(text, 'sentinel_upstream_errors_total{upstream="orders",reason="refused"}')).toBe(0);
    expect(sample(text, 'sentinel_upstream_healthy{upstream="orders",target="http://10.0.0.1:3000"}')).toBe(1);
    expect(sample(text, 'sentinel_key_lookups_total{tier="file",outcome="absent"}')).toBe(0);
    expect(sample(text, 'sentinel_config_reloads_total{outcome="failure"}')).toBe(0);
    expect(sample(text, "sentinel_log_lines_dropped_total")).toBe(0);
    expect(sample(text, 'sentinel_build_info{version="1.2.3"}')).toBe(1);
  });

  it("has every metric it declares, sentinel_redis_up only where a Redis is configured", () => {
    const without = formatMetrics(metricsFor().snapshot());
    const withRedis = formatMetrics(metricsFor({ redis: true }).snapshot());
    for (const { name } of METRIC_DEFINITIONS) {
      expect(withRedis).toContain(`# TYPE ${name} `);
      if (name !== "sentinel_redis_up") expect(without).toContain(`# TYPE ${name} `);
    }
    expect(sample(without, "sentinel_redis_up")).toBeNull();
    expect(sample(withRedis, "sentinel_redis_up")).toBe(0);
  });
});

describe("requestEnded", () => {
  it("counts the request, its verdict and its times", () => {
    const metrics = metricsFor();
    metrics.requestBegan();
    metrics.requestBegan();
    metrics.requestEnded(exchangeOf());
    const text = formatMetrics(metrics.snapshot());
    expect(sample(text, 'sentinel_requests_total{route="read-api",method="GET",status="200"}')).toBe(1);
    expect(sample(text, 'sentinel_verdicts_total{route="read-api",verdict="allowed"}')).toBe(1);
    expect(sample(text, 'sentinel_request_duration_seconds_bucket{route="read-api",le="0.01"}')).toBe(0);
    expect(sample(text, 'sentinel_request_duration_seconds_bucket{route="read-api",le="0.025"}')).toBe(1);
    expect(sample(text, 'sentinel_request_duration_seconds_bucket{route="read-api",le="+Inf"}')).toBe(1);
    expect(sample(text, 'sentinel_request_duration_seconds_sum{route="read-api"}')).toBeCloseTo(0.012);
    expect(sample(text, 'sentinel_gateway_duration_seconds_sum{route="read-api"}')).toBeCloseTo(0.001);
    expect(sample(text, 'sentinel_upstream_duration_seconds_sum{upstream="orders"}')).toBeCloseTo(0.01);
    expect(sample(text, "sentinel_requests_in_flight")).toBe(1);
  });

  it("does not count waiting for the client's body as the gateway's share", () => {
    const metrics = metricsFor();
    metrics.requestEnded(exchangeOf({ startedAt: 0, waitedMs: 999 }));
    const text = formatMetrics(metrics.snapshot());
    expect(sample(text, 'sentinel_gateway_duration_seconds_sum{route="read-api"}')).toBeCloseTo(0.002);
  });

  it("does not count the wait for a body that never came, either", () => {
    const metrics = metricsFor();
    const left = { upstream: null, upstreamStartedAt: 0, upstreamEndedAt: 0, status: 499, waitingSince: 1002 };
    metrics.requestEnded(exchangeOf(left));
    const text = formatMetrics(metrics.snapshot());
    expect(sample(text, 'sentinel_gateway_duration_seconds_sum{route="read-api"}')).toBeCloseTo(0.002);
  });

  it("counts what took longer than the last bound of a histogram", () => {
    const metrics = metricsFor();
    metrics.requestEnded(exchangeOf({ startedAt: 0, upstreamStartedAt: 1, endedAt: 60_000 }));
    const text = formatMetrics(metrics.snapshot());
    expect(sample(text, 'sentinel_request_duration_seconds_bucket{route="read-api",le="10"}')).toBe(0);
    expect(sample(text, 'sentinel_request_duration_seconds_bucket{route="read-api",le="+Inf"}')).toBe(1);
    expect(sample(text, 'sentinel_request_duration_seconds_count{route="read-api"}')).toBe(1);
  });

  it("counts a refusal's whole time as the gateway's share, and none of an upstream", () => {
    const metrics = metricsFor();
    const refused = { upstream: null, upstreamStartedAt: 0, upstreamEndedAt: 0, status: 401 };
    metrics.requestEnded(exchangeOf({ ...refused, verdict: "missing" }));
    const text = formatMetrics(metrics.snapshot());
    expect(sample(text, 'sentinel_gateway_duration_seconds_sum{route="read-api"}')).toBeCloseTo(0.012);
    expect(sample(text, 'sentinel_upstream_duration_seconds_count{upstream="orders"}')).toBe(0);
  });

  it("counts under _none what was refused before there was a head", () => {
    const metrics = metricsFor();
    const exchange = exchangeOf({ head: null, route: null, verdict: null, upstream: null, status: 400 });
    metrics.requestEnded(exchange);
    const text = formatMetrics(metrics.snapshot());
    expect(sample(text, 'sentinel_requests_total{route="_none",method="GET",status="400"}')).toBe(1);
  });

  it("says _OTHER for a method or status outside the closed list", () => {
    const metrics = metricsFor();
    metrics.requestEnded(exchangeOf({ status: 0 }, "/", "PROPFIND"));
    const text = formatMetrics(metrics.snapshot());
    expect(sample(text, 'sentinel_requests_total{route="read-api",method="_OTHER",status="_OTHER"}')).toBe(1);
  });
});

describe("cardinality", () => {
  it("stays the same under 100,000 different paths, methods, hosts, addresses and keys", () => {
    const metrics = metricsFor();
    const send = (n: number) => {
      const peer = { ...PEER, clientIp: `10.${n >> 16}.${(n >> 8) & 255}.${n & 255}` };
      const changes = { peer, keyId: `key_${n}` };
      const route = n % 2 === 0 ? null : routeNamed("read-api");
      metrics.requestEnded(exchangeOf({ ...changes, route }, `/p/${n}`, `M${n}`));
    };
    for (let n = 0; n < 2; n++) send(n);
    const before = seriesCount(formatMetrics(metrics.snapshot()));
    for (let n = 2; n < 100_000; n++) send(n);
    expect(seriesCount(formatMetrics(metrics.snapshot()))).toBe(before);
  });
});

describe("configure", () => {
  it("goes on counting a route of the same name, shows a new one at zero, and forgets nothing", () => {
    const metrics = metricsFor();
    metrics.requestEnded(exchangeOf());
    metrics.upstreamHealthy("orders", "http://10.0.0.1:3000", false);
    metrics.configure({
      routes: [
        { name: "read-api", methods: ["GET"] },
        { name: "new", methods: ["POST"] },
      ],
      upstreams: [{ name: "orders", targets: ["http://10.0.0.1:3000", "http://10.0.0.2:3000"] }],
    });
    metrics.requestEnded(exchangeOf());
    const text = formatMetrics(metrics.snapshot());
    expect(sample(text, 'sentinel_requests_total{route="read-api",method="GET",status="200"}')).toBe(2);
    expect(sample(text, 'sentinel_requests_total{route="new",method="POST",status="401"}')).toBe(0);
    expect(sample(text, 'sentinel_upstream_healthy{upstream="orders",target="http://10.0.0.1:3000"}')).toBe(0);
    expect(sample(text, 'sentinel_upstream_healthy{upstream="orders",target="http://10.0.0.2:3000"}')).toBe(1);
  });

  it("no longer shows the health of a target that was removed", () => {
    const metrics = metricsFor();
    metrics.configure({ routes: [], upstreams: [{ name: "orders", targets: ["http://10.0.0.9:3000"] }] });
    const text = formatMetrics(metrics.snapshot());
    expect(sample(text, 'sentinel_upstream_healthy{upstream="orders",target="http://10.0.0.1:3000"}')).toBeNull();
    expect(sample(text, 'sentinel_requests_total{route="read-api",method="GET",status="200"}')).toBe(0);
  });

  it("ignores what a removed target reports late", () => {
    const metrics = metricsFor();
    metrics.configure({ routes: [], upstreams: [] });
    metrics.upstreamHealthy("orders", "http://10.0.0.1:3000", false);
    expect(formatMetrics(metrics.snapshot())).not.toContain("sentinel_upstream_healthy{");
  });
});

describe("observers", () => {
  it("shows look-ups, Redis, revocation lag, reloads and what was shed", () => {
    const metrics = metricsFor({ redis: true, tiers: ["memory", "redis"] });
    metrics.lookup("memory", "hit", 0.00002);
    metrics.lookup("redis", "stale", 0.2);
    metrics.redisUp(true);
    metrics.revocationLag(0.03);
    metrics.measureCacheEntries(() => 7);
    metrics.configGeneration(3);
    metrics.configReloaded("failure");
    metrics.logLinesDropped(5);
    metrics.shed("connections");
    metrics.upstreamError("orders", "reset");
    const text = formatMetrics(metrics.snapshot());
    expect(sample(text, 'sentinel_key_lookups_total{tier="memory",outcome="hit"}')).toBe(1);
    expect(sample(text, 'sentinel_key_lookups_total{tier="redis",outcome="stale"}')).toBe(1);
    expect(sample(text, 'sentinel_key_lookup_duration_seconds_sum{tier="redis"}')).toBe(0.2);
    expect(sample(text, "sentinel_redis_up")).toBe(1);
    expect(sample(text, 'sentinel_revocation_lag_seconds_bucket{le="0.05"}')).toBe(1);
    expect(sample(text, "sentinel_key_cache_entries")).toBe(7);
    expect(sample(text, "sentinel_config_generation")).toBe(3);
    expect(sample(text, 'sentinel_config_reloads_total{outcome="failure"}')).toBe(1);
    expect(sample(text, "sentinel_config_last_reload_successful")).toBe(0);
    expect(sample(text, "sentinel_log_lines_dropped_total")).toBe(5);
    expect(sample(text, 'sentinel_requests_shed_total{reason="connections"}')).toBe(1);
    expect(sample(text, 'sentinel_upstream_errors_total{upstream="orders",reason="reset"}')).toBe(1);
  });
});

describe("several workers", () => {
  it("adds counters up and takes the worst of what is up and the newest generation", () => {
    const [one, two] = [metricsFor({ redis: true }), metricsFor({ redis: true })];
    for (const metrics of [one, two]) {
      metrics.requestBegan();
      metrics.requestBegan();
      metrics.requestEnded(exchangeOf());
      metrics.redisUp(metrics === one);
      metrics.configGeneration(metrics === one ? 4 : 5);
      metrics.configReloaded("success");
    }
    const overTheWire = [one, two].map((metrics) => JSON.parse(JSON.stringify(metrics.snapshot())));
    const text = formatMetrics(...overTheWire);
    expect(sample(text, 'sentinel_requests_total{route="read-api",method="GET",status="200"}')).toBe(2);
    expect(sample(text, 'sentinel_request_duration_seconds_count{route="read-api"}')).toBe(2);
    expect(sample(text, 'sentinel_request_duration_seconds_sum{route="read-api"}')).toBeCloseTo(0.024);
    expect(sample(text, "sentinel_requests_in_flight")).toBe(2);
    expect(sample(text, "sentinel_redis_up")).toBe(0);
    expect(sample(text, "sentinel_config_generation")).toBe(5);
    expect(sample(text, 'sentinel_config_reloads_total{outcome="success"}')).toBe(1);
  });
});

describe("the text", () => {
  it("escapes label values", () => {
    const metrics = metricsFor({ routes: [{ name: 'a"b\\c\nd', methods: ["GET"] }] });
    expect(formatMetrics(metrics.snapshot())).toContain('route="a\\"b\\\\c\\nd"');
  });

  it.skipIf(!hasPromtool)("is what promtool calls clean, of one process or several", async () => {
    const metrics = metricsFor({ redis: true });
    metrics.requestEnded(exchangeOf());
    const scrape = await collectScrape(metrics);
    for (const scrapes of [[scrape], JSON.parse(JSON.stringify([scrape, scrape]))]) {
      const text = await formatScrapes(scrapes);
      expect(text).toContain("process_cpu_seconds_total");
      expect(text).toContain("nodejs_eventloop_lag_p99_seconds");
      const check = spawnSync("promtool", ["check", "metrics"], { input: text, encoding: "utf8" });
      expect(`${check.stdout}${check.stderr}`).toBe("");
      expect(check.status).toBe(0);
    }
  });
});
