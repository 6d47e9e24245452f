import { describe, expect, it } from "vitest";
import type { LineSink } from "../../src/telemetry/line-writer.ts";
import { formatMetrics } from "../../src/telemetry/metrics.ts";
import { createTelemetry, type TelemetryOptions } from "../../src/telemetry/telemetry.ts";
import { exchangeOf, sample } from "./support.ts";

function setUp(log: Partial<TelemetryOptions["log"]> = {}, isTerminal = false) {
  let text = "";
  const sink: LineSink = {
    isTerminal,
    write: (bytes, done) => {
      text += bytes.toString();
      done(null, bytes.length);
    },
    writeSync: (bytes) => {
      text += bytes.toString();
      return bytes.length;
    },
    close: () => {},
  };
  const telemetry = createTelemetry({
    log: { level: "info", format: "auto", sampleSuccess: 1, ...log },
    keyPrefix: "unkey_",
    metrics: { routes: [], upstreams: [], tiers: ["file"], redis: false, version: "1" },
    sink,
  });
  return { telemetry, text: () => text };
}

describe("createTelemetry", () => {
  it("writes requests and events to one sink, as JSON where it is no terminal", async () => {
    const { telemetry, text } = setUp();
    telemetry.recorder.record(exchangeOf());
    telemetry.log("info", "config_reloaded", { generation: 2 });
    await telemetry.close();
    const lines = text().trimEnd().split("\n");
    expect(lines.map((line) => JSON.parse(line))).toMatchObject([{ status: 200 }, { event: "config_reloaded" }]);
  });

  it("writes for people on a terminal", async () => {
    const { telemetry, text } = setUp({}, true);
    telemetry.recorder.record(exchangeOf());
    await telemetry.close();
    expect(text()).toContain("200 GET /v2/apis/api_1 12ms");
  });

  it("takes up the log settings and routes of a reload", async () => {
    const { telemetry, text } = setUp({ format: "json" });
    const subjects = { routes: [{ name: "new", methods: ["GET"] }], upstreams: [] };
    const log = { level: "error", format: "json", sampleSuccess: 1 } as const;
    telemetry.configure({ log, keyPrefix: "unkey_" }, subjects);
    telemetry.recorder.record(exchangeOf());
    telemetry.log("info", "x");
    await telemetry.close();
    expect(text()).toBe("");
    const scrape = formatMetrics(telemetry.metrics.snapshot());
    expect(sample(scrape, 'sentinel_requests_total{route="new",method="GET",status="200"}')).toBe(0);
  });

  it("hides what a reload makes a key, in both kinds of lines, and what was one before it", async () => {
    const { telemetry, text } = setUp({ format: "json" });
    const log = { level: "info", format: "json", sampleSuccess: 1 } as const;
    telemetry.configure({ log, keyPrefix: "acme_" }, { routes: [], upstreams: [] });
    telemetry.recorder.record(exchangeOf({}, "/acme_3ZZ7faUrXbVD/unkey_3ZZ7faUrXbVD"));
    telemetry.log("warn", "x", { error: new Error("acme_3ZZ7faUrXbVD or unkey_3ZZ7faUrXbVD") });
    await telemetry.close();
    expect(text()).not.toContain("3ZZ7faUrXbVD");
    expect(telemetry.redact("acme_3ZZ7faUrXbVD")).toBe("[redacted]");
  });

  it("counts what is in flight and which connections were turned away, and says once that accepting fails", async () => {
    const { telemetry, text } = setUp({ format: "json" });
    telemetry.recorder.begin(exchangeOf());
    telemetry.recorder.shed();
    telemetry.recorder.dropped(null);
    const error = Object.assign(new Error("too many open files"), { code: "EMFILE" });
    telemetry.recorder.dropped(error);
    telemetry.recorder.dropped(error);
    await telemetry.close();
    const scrape = formatMetrics(telemetry.metrics.snapshot());
    expect(sample(scrape, "sentinel_requests_in_flight")).toBe(1);
    expect(sample(scrape, 'sentinel_requests_shed_total{reason="connections"}')).toBe(3);
    expect(sample(scrape, 'sentinel_requests_shed_total{reason="overload"}')).toBe(1);
    expect(
      text()
        .trimEnd()
        .split("\n")
        .map((line) => JSON.parse(line).error),
    ).toEqual(["EMFILE: too many open files"]);
  });

  it("writes what waits when there is no time", () => {
    const { telemetry, text } = setUp({ format: "json" });
    telemetry.log("fatal", "crashed");
    telemetry.flushSync();
    expect(text()).toContain('"event":"crashed"');
  });
});
