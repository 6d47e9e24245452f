import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { createRecorder, type RecordOptions } from "../../src/telemetry/record.ts";
import { createRedact } from "../../src/telemetry/redact.ts";
import { collectingWriter, exchangeOf, metricsFor, PEER } from "./support.ts";

function setUp(options: Partial<RecordOptions> = {}) {
  const writer = collectingWriter();
  const record = createRecorder({
    metrics: metricsFor(),
    writer,
    log: { level: "info", sampleSuccess: 1 },
    redact: createRedact("unkey_"),
    now: () => 1_700_000_000_000,
    ...options,
  });
  return { record, lines: () => writer.lines.map((line) => JSON.parse(line) as Record<string, unknown>), writer };
}

describe("the line of an exchange", () => {
  it("has the members of the contract, in order", () => {
    const { record, writer } = setUp();
    record(exchangeOf());
    expect(writer.lines).toEqual([
      '{"level":30,"time":1700000000000,"requestId":"req_2c9a0jf23l4k567","route":"read-api","method":"GET",' +
        '"path":"/v2/apis/api_1","status":200,"bytesIn":0,"bytesOut":42,"durationMs":12,"upstreamMs":10,"gatewayMs":1,' +
        '"verdict":"allowed","code":null,"keyId":"key_ci","clientIp":"192.0.2.7","upstream":"orders"}\n',
    ]);
  });

  it("has the code and the cause of a fault, at the level of the table", () => {
    const { record, lines } = setUp();
    const cause = Object.assign(new Error("connect ECONNREFUSED 10.0.0.1:3000"), { code: "ECONNREFUSED" });
    record(exchangeOf({ status: 503, fault: "sentinel:upstream:service_unavailable", cause }));
    record(exchangeOf({ status: 401, fault: "unkey:authentication:missing", verdict: "missing" }));
    record(exchangeOf({ status: 500, fault: "unkey:application:unexpected_error", cause: { password: "x" } }));
    expect(lines()).toMatchObject([
      {
        level: 40,
        code: "err:sentinel:upstream:service_unavailable",
        cause: "ECONNREFUSED: connect ECONNREFUSED 10.0.0.1:3000",
      },
      { level: 30, code: "err:unkey:authentication:missing", verdict: "missing" },
      { level: 50, cause: "threw object" },
    ]);
    expect(lines()[1]).not.toHaveProperty("cause");
  });

  it("says null for what is not known of a request that was never read", () => {
    const { record, lines } = setUp();
    const nothing = { head: null, route: null, verdict: null, keyId: null, upstream: null, upstreamStartedAt: 0 };
    record(exchangeOf({ ...nothing, status: 400, fault: "user:bad_request:invalid_request" }));
    expect(lines()).toMatchObject([
      { route: null, path: null, upstreamMs: null, verdict: null, keyId: null, upstream: null, method: "GET" },
    ]);
  });

  it("never has the query, nor a key that stands in the path", () => {
    const { record, writer } = setUp();
    record(exchangeOf({}, "/keys/unkey_3ZZ7faUrXbVDnxvhGyCPLm/x"));
    expect(writer.lines[0]).toContain('"path":"/keys/[redacted]/x"');
    expect(writer.lines[0]).not.toContain("secret");
  });

  it("is one line of JSON whatever the names hold", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary" }), fc.string({ unit: "binary" }), (keyId, clientIp) => {
        const { record, writer } = setUp();
        record(exchangeOf({ keyId, peer: { ...PEER, clientIp } }));
        const [line = ""] = writer.lines;
        expect(line).toMatch(/^[\x20-\x7e]*\n$/);
        expect(JSON.parse(line)).toMatchObject({ keyId, clientIp });
      }),
    );
  });
});

describe("times", () => {
  it("are the clock's milliseconds since 1970, whatever second they are in", () => {
    for (const time of [1_700_000_000_000, 1_700_000_000_007, 1_700_000_001_070, 1_700_000_000_999]) {
      const { record, lines } = setUp({ now: () => time });
      record(exchangeOf());
      expect(lines()[0]?.time).toBe(time);
    }
  });

  it.each([
    [0, "0"],
    [12, "12"],
    [0.5, "0.5"],
    [3.007, "3.007"],
    [0.0004, "0"],
    [0.9996, "1"],
    [1234567.8, "1234567.8"],
    [-1, "0"],
  ])("%s is written as %s", (duration, written) => {
    const { record, writer } = setUp();
    record(exchangeOf({ startedAt: 0, endedAt: duration }));
    expect(writer.lines[0]).toContain(`"durationMs":${written},`);
  });
});

describe("what is written", () => {
  it("is a share of the successes when asked, and every other answer", () => {
    const draws = [0.1, 0.6, 0.4, 0.9];
    const log = { level: "info", sampleSuccess: 0.5 } as const;
    const { record, lines } = setUp({ log, random: () => draws.shift() ?? 1 });
    for (const status of [200, 201, 304, 200]) record(exchangeOf({ status }));
    for (const status of [101, 401, 404, 499, 500, 502]) record(exchangeOf({ status }));
    expect(lines().map((line) => line.status)).toEqual([200, 304, 101, 401, 404, 499, 500, 502]);
  });

  it("has every answer that broke off, whatever share of the whole ones is written", () => {
    const { record, lines } = setUp({ log: { level: "info", sampleSuccess: 0 } });
    record(exchangeOf({ status: 200 }));
    record(exchangeOf({ status: 200, fault: "sentinel:upstream:bad_gateway", cause: new Error("reset") }));
    expect(lines()).toMatchObject([{ status: 200, level: 40, code: "err:sentinel:upstream:bad_gateway" }]);
  });

  it("is what is at log.level or above", () => {
    const { record, lines } = setUp({ log: { level: "warn", sampleSuccess: 1 } });
    record(exchangeOf());
    record(exchangeOf({ status: 502, fault: "sentinel:upstream:bad_gateway" }));
    expect(lines().map((line) => line.level)).toEqual([40]);
  });

  it("is counted whether it is written or not", () => {
    const metrics = metricsFor();
    const { record } = setUp({ metrics, log: { level: "silent", sampleSuccess: 0 } });
    record(exchangeOf());
    const counted = metrics
      .snapshot()
      .sentinel_requests_total?.reduce((sum, { figures }) => sum + (figures[0] ?? 0), 0);
    expect(counted).toBe(1);
  });
});
