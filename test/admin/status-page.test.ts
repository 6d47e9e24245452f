import { describe, expect, it } from "vitest";
import { createRates } from "../../src/admin/rates.ts";
import { formatStatusPage, STATUS_PAGE_HEADERS } from "../../src/admin/status-page.ts";
import type { Scrape } from "../../src/telemetry/scrape.ts";
import { exchangeOf, metricsFor } from "../telemetry/support.ts";
import { stateOf } from "./support.ts";

const NOW = 1_700_000_000_000 + 93_784_000;

describe("the status page", () => {
  it("shows routes, upstreams, keys, Redis and the configuration", () => {
    const page = formatStatusPage(stateOf(), null, NOW);
    for (const text of [
      "Sentinel: ready",
      "1 d 2 h, since 2023-11-14T22:13:20Z",
      "generation 3",
      "read-api",
      "api.{path.apiId}.read_api",
      "nothing: open to anyone",
      "http://10.0.0.2:3000",
      "redis, 1234 in memory",
      "none yet",
    ]) {
      expect(page).toContain(text);
    }
  });

  it("says so of a route that takes any method and any path", () => {
    const access = { open: false, permissions: "" };
    const all = { name: "all", host: null, methods: null, path: null, access, upstream: "orders" };
    expect(formatStatusPage(stateOf({ routes: [all] }), null, NOW).replaceAll(/<[^>]*>/g, "")).toMatch(
      /any method\s+any path/,
    );
  });

  it("shows the mistakes of a reload that was refused", () => {
    const error = "sentinel.yaml:3:5: unknown member 'lisen', did you mean 'listen'?";
    const lastReload = { at: NOW - 5000, outcome: "failure", error, needsRestart: [] } as const;
    const page = formatStatusPage(stateOf({ lastReload }), null, NOW);
    expect(page).toContain("5 s ago; the last good one stays.");
    expect(page).toContain("unknown member &#39;lisen&#39;, did you mean &#39;listen&#39;?");
  });

  it("says what only a restart takes up", () => {
    const lastReload = { at: NOW, outcome: "success", error: null, needsRestart: ["listen"] } as const;
    expect(formatStatusPage(stateOf({ lastReload }), null, NOW)).toContain("Needs a restart: <code>listen</code>");
  });

  it("lets no name become markup", () => {
    const attack = `"><script>alert(1)</script><img src=x onerror='alert(2)'>&`;
    const [route, open] = stateOf().routes;
    const access = { open: false, permissions: attack };
    const page = formatStatusPage(
      stateOf({
        version: attack,
        configFile: attack,
        addresses: [attack],
        lastReload: { at: NOW, outcome: "failure", error: attack, needsRestart: [attack] },
        checks: [{ name: "keys", ok: false, reason: attack }],
        routes: [
          { ...route!, name: attack, host: attack, methods: [attack], path: attack, access, upstream: attack },
          open!,
        ],
        upstreams: [{ name: attack, targets: [{ url: attack, healthy: true }] }],
        keys: { source: "http", ready: false, reason: attack, entries: 0 },
        redis: { up: false, reason: attack },
      }),
      null,
      NOW,
    );
    expect(page).not.toContain("<script");
    expect(page).not.toContain("<img");
    expect(page).not.toContain(`="">`);
    expect(page.match(/&#60;script&#62;/g)?.length).toBeGreaterThan(10);
  });

  it("may run nothing and load nothing", () => {
    const policy = STATUS_PAGE_HEADERS["Content-Security-Policy"];
    expect(policy).toMatch(/^default-src 'none'; style-src 'sha256-[A-Za-z0-9+/=]+'; /);
    expect(formatStatusPage(stateOf(), null, NOW)).not.toMatch(/ (src|style|on\w+)=/);
  });
});

describe("rates", () => {
  const scrapes = (of: ReturnType<typeof metricsFor>): Scrape[] => [{ sentinel: of.snapshot(), node: [] }];

  it("are what happened between two readings, by route", () => {
    const metrics = metricsFor();
    const rates = createRates();
    metrics.requestEnded(exchangeOf());
    rates.add(0, scrapes(metrics));
    expect(rates.latest()).toBeNull();
    for (const status of [200, 200, 401, 403, 502, 200]) metrics.requestEnded(exchangeOf({ status }));
    rates.add(2000, scrapes(metrics));
    expect(rates.latest()?.seconds).toBe(2);
    expect(rates.latest()?.byRoute.get("read-api")).toEqual({ requests: 3, denied: 1, failed: 0.5 });
    expect(formatStatusPage(stateOf(), rates.latest(), NOW)).toContain('<td class="number">3.0</td>');
  });

  it("leave out a reading that comes too soon, and are never negative", () => {
    const metrics = metricsFor();
    const rates = createRates();
    metrics.requestEnded(exchangeOf());
    rates.add(0, scrapes(metrics));
    rates.add(500, scrapes(metrics));
    expect(rates.latest()).toBeNull();
    rates.add(1000, scrapes(metricsFor()));
    expect(rates.latest()?.byRoute.get("read-api")?.requests).toBe(0);
  });
});
