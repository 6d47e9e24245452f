import { describe, expect, it } from "vitest";
import { CATALOGUE, FAULT_CODES, formatFaultCode } from "../../src/faults/catalogue.ts";
import { formatEnvelope } from "../../src/faults/envelope.ts";
import { fault, isFault } from "../../src/faults/fault.ts";

const ID = "req_000000000000000";
const SETTINGS = { typeBase: "https://unkey.com/docs/errors", overrides: {} };

describe("the envelope", () => {
  it.each(FAULT_CODES)("of %s has the table's status and title, members in order, its own length", (code) => {
    const { status, headers, body } = formatEnvelope(fault(code), ID, SETTINGS);
    const parsed = JSON.parse(body) as { meta: object; error: Record<string, unknown> };
    expect(status).toBe(CATALOGUE[code].status);
    expect(Object.keys(parsed)).toEqual(["meta", "error"]);
    const members = ["detail", "status", "title", "type", ...(status === 400 ? ["errors"] : [])];
    expect(Object.keys(parsed.error)).toEqual(members);
    expect(parsed.error).toMatchObject({ status, title: CATALOGUE[code].title });
    expect(headers[headers.indexOf("Content-Length") + 1]).toBe(String(Buffer.byteLength(body)));
    expect(headers.includes("WWW-Authenticate")).toBe(status === 401);
    expect(headers.includes("Retry-After")).toBe(status === 503);
  });

  it("takes status, title, detail and type of an override, and counts bytes, not characters", () => {
    const code = "unkey:authentication:missing";
    const overrides = { [formatFaultCode(code)]: { status: 429, title: "Später", detail: "nö", type: "about:blank" } };
    const { status, headers, body } = formatEnvelope(fault(code), ID, { ...SETTINGS, overrides });
    expect(status).toBe(429);
    expect(JSON.parse(body).error).toEqual({ detail: "nö", status: 429, title: "Später", type: "about:blank" });
    expect(headers[headers.indexOf("Content-Type") + 1]).toBe("application/problem+json");
    expect(headers[headers.indexOf("Content-Length") + 1]).toBe(String(Buffer.byteLength(body)));
    expect(headers[headers.indexOf("Retry-After") + 1]).toBe("1");
  });

  it("has the fields of the status that an override gives it", () => {
    const code = "user:bad_request:invalid_body";
    const overrides = {
      [formatFaultCode(code)]: { status: 401 },
      [formatFaultCode("sentinel:routing:loop_detected")]: { status: 503 },
    };
    const { headers } = formatEnvelope(fault(code), ID, { ...SETTINGS, overrides });
    expect(headers[headers.indexOf("WWW-Authenticate") + 1]).toBe('Bearer realm="sentinel"');
    const busy = formatEnvelope(fault("sentinel:routing:loop_detected"), ID, { ...SETTINGS, overrides });
    expect(busy.headers[busy.headers.indexOf("Retry-After") + 1]).toBe("1");
  });

  it("says an occurrence's own detail, waiting time, methods and place", () => {
    const busy = formatEnvelope(fault("unkey:application:service_unavailable", { retryAfterSeconds: 7 }), ID, SETTINGS);
    expect(busy.headers[busy.headers.indexOf("Retry-After") + 1]).toBe("7");
    const allow = ["GET", "HEAD"];
    const method = formatEnvelope(fault("sentinel:routing:method_not_allowed", { detail: "no", allow }), ID, SETTINGS);
    expect(method.headers[method.headers.indexOf("Allow") + 1]).toBe("GET, HEAD");
    const place = fault("user:bad_request:invalid_body", {
      detail: "must be JSON",
      location: "body",
      fix: "send JSON",
    });
    expect(JSON.parse(formatEnvelope(place, ID, SETTINGS).body).error.errors).toEqual([
      { location: "body", message: "must be JSON", fix: "send JSON" },
    ]);
    expect(isFault(place)).toBe(true);
    for (const other of [null, undefined, "fault", { kind: "other" }]) expect(isFault(other)).toBe(false);
  });
});
