import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { createLogger, describeError, type LogFields } from "../../src/telemetry/logger.ts";
import { formatPretty } from "../../src/telemetry/pretty.ts";
import { createRedact } from "../../src/telemetry/redact.ts";
import { collectingWriter } from "./support.ts";

const redact = createRedact("unkey_");
const SECRET = "unkey_3ZZ7faUrXbVDnxvhGyCPLmQw";

function setUp(level: "info" | "trace" | "silent" = "info") {
  const writer = collectingWriter();
  return { ...createLogger({ level, writer, redact }), writer };
}

describe("createLogger", () => {
  it("writes level, time, event and flat fields as pino does", () => {
    const { log, writer } = setUp();
    log("warn", "config_rejected", { generation: 3, file: "sentinel.yaml" });
    expect(JSON.parse(writer.lines[0] as string)).toEqual({
      level: 40,
      time: expect.any(Number),
      generation: 3,
      file: "sentinel.yaml",
      event: "config_rejected",
    });
  });

  it("writes nothing below its level", () => {
    const { log, writer } = setUp();
    log("debug", "x");
    setUp("silent").log("fatal", "x");
    expect(writer.lines).toEqual([]);
  });

  it("takes another level while it runs", () => {
    const { log, setLevel, writer } = setUp();
    log("debug", "before");
    setLevel("debug");
    log("debug", "after");
    expect(writer.lines.map((line) => JSON.parse(line).event)).toEqual(["after"]);
  });

  it("reduces an error to code and message, without the arguments that libraries hang on it", () => {
    const { log, writer } = setUp();
    const error = Object.assign(new Error(`bad ${SECRET}`), { code: "EX", command: { args: [SECRET] }, cause: SECRET });
    log("error", "redis_lost", { error });
    expect(JSON.parse(writer.lines[0] as string).error).toBe("EX: bad [redacted]");
    expect(writer.lines[0]).not.toContain("3ZZ7faUr");
  });

  it("has no way in for objects", () => {
    const { log, writer } = setUp();
    const headers = { authorization: `Bearer ${SECRET}` };
    log("info", "x", { headers, list: [SECRET] } as unknown as LogFields);
    expect(Object.keys(JSON.parse(writer.lines[0] as string))).toEqual(["level", "time", "event"]);
  });
});

describe("createRedact", () => {
  it.each([
    [`GET /x?key=${SECRET} failed`, "GET /x?key=[redacted] failed"],
    [`authorization: Bearer ${SECRET}`, "authorization: [redacted]"],
    ["Authorization: bearer abc.def", "Authorization: [redacted]"],
    ["proxy-authorization: Basic dXNlcjpwYXNz", "proxy-authorization: [redacted]"],
    [SECRET.toUpperCase(), "[redacted]"],
    ["nothing to see", "nothing to see"],
    ["unkey_", "unkey_"],
  ])("%s", (text, expected) => {
    expect(redact(text)).toBe(expected);
  });

  it("takes a prefix literally", () => {
    expect(createRedact("a.b*_")("a.b*_123 axbb_123")).toBe("[redacted] axbb_123");
  });

  it("hides long runs where any prefix is a key's", () => {
    expect(createRedact("")("failed for abcdefghijklmnopqrstuvwx in orders")).toBe("failed for [redacted] in orders");
  });

  it("leaves no eight bytes of a key, whatever stands around it", () => {
    const body = fc.string({
      unit: fc.constantFrom(..."ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz123456789"),
      minLength: 8,
      maxLength: 40,
    });
    fc.assert(
      fc.property(body, fc.string(), fc.string(), (secret, before, after) => {
        const safe = redact(`${before}unkey_${secret}${after}`);
        for (let at = 0; at + 8 <= secret.length; at++) {
          const run = secret.slice(at, at + 8);
          if (!before.includes(run) && !after.includes(run)) expect(safe).not.toContain(run);
        }
      }),
    );
  });
});

describe("describeError", () => {
  it("names a system error by its code and others by their name", () => {
    expect(describeError(new TypeError("x is not a function"), redact)).toBe("TypeError: x is not a function");
    expect(describeError(Object.assign(new Error("gone"), { code: "ECONNRESET" }), redact)).toBe("ECONNRESET: gone");
    expect(describeError(SECRET, redact)).toBe("[redacted]");
    expect(describeError({ secret: SECRET }, redact)).toBe("threw object");
  });

  it("is short", () => {
    expect(describeError(new Error("x".repeat(10_000)), redact).length).toBe(500);
  });
});

describe("formatPretty", () => {
  const record =
    '{"level":40,"time":1700000000000,"requestId":"req_1","route":"read","method":"GET","path":"/a","status":502,' +
    '"bytesIn":0,"bytesOut":1,"durationMs":1.5,"upstreamMs":1,"gatewayMs":0.5,"verdict":"allowed",' +
    '"code":"err:sentinel:upstream:bad_gateway","keyId":null,"clientIp":"::1","upstream":"orders"}\n';

  it("says what happened to a request on one line", () => {
    expect(formatPretty(record, false)).toBe(
      "22:13:20.000 WARN  502 GET /a 1.5ms  err:sentinel:upstream:bad_gateway  read  " +
        "verdict=allowed upstream=orders clientIp=::1  req_1\n",
    );
  });

  it("says an event with its fields", () => {
    const line = '{"level":30,"time":1700000000000,"generation":3,"event":"config_reloaded"}\n';
    expect(formatPretty(line, true)).toBe("22:13:20.000 \x1b[32mINFO \x1b[0m config_reloaded generation=3\n");
  });

  it("lets nothing steer the terminal", () => {
    const line = JSON.stringify({ level: 30, time: 0, event: "x", reason: "\x1b[2J\u009b2J\r\nforged" });
    const shown = formatPretty(line, false);
    expect([...shown.slice(0, -1)].every((character) => character >= " " && character <= "~")).toBe(true);
  });
});
