import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  buildResponseHeaders,
  buildTrailers,
  type ResponseHeadersContext,
} from "../../src/forward/response-headers.ts";

const CONTEXT: ResponseHeadersContext = { via: "1.1 sentinel (i)", status: 200, canChunk: true };
const OURS = ["X-Request-Id", "req_1", "Via", "1.1 sentinel (i)"];

function build(raw: readonly string[], context: Partial<ResponseHeadersContext> = {}): string[] {
  const built = buildResponseHeaders(raw, { ...CONTEXT, ...context });
  if (typeof built === "string") throw new Error(built);
  return built.list("req_1");
}

describe("fields of the upstream", () => {
  it("keep their case, their order, their repeats and their bytes", () => {
    const raw = [
      "Set-Cookie",
      "a=\xff",
      "X-B",
      "1",
      "set-cookie",
      "b",
      "WWW-Authenticate",
      "A",
      "WWW-Authenticate",
      "B",
    ];
    expect(build(raw)).toEqual([...raw, ...OURS]);
  });

  it.each([
    "Connection",
    "Keep-Alive",
    "Proxy-Connection",
    "Proxy-Authenticate",
    "Proxy-Authorization",
    "TE",
    "Upgrade",
    "HTTP2-Settings",
  ])("drop what is for one hop: %s", (name) => {
    expect(build([name, "x", name.toLowerCase(), "y", name.toUpperCase(), "z"])).toEqual(OURS);
  });

  it("stay where Connection names something else, however much it looks like them", () => {
    const raw = ["Connection", "\xa0X-A, X-B", "X-A", "1", "X-B", "2"];
    expect(build(raw)).toEqual(["X-A", "1", ...OURS]);
  });

  it("drop what Connection names, and never the framing or our own", () => {
    const raw = [
      "Connection",
      "X-Secret, content-length,x-request-id",
      "x-secret",
      "1",
      "Content-Length",
      "2",
      "X-A",
      "b",
    ];
    expect(build(raw)).toEqual(["Content-Length", "2", "X-A", "b", ...OURS]);
  });

  it("have our request id in the place of theirs, once", () => {
    expect(build(["x-request-ID", "theirs", "X-A", "1", "X-Request-Id", "again"])).toEqual([
      "x-request-ID",
      "req_1",
      "X-A",
      "1",
      "Via",
      "1.1 sentinel (i)",
    ]);
  });

  it.each(["X-Unkey-Error-Source", "x-unkey-error-source", "X_Unkey_Error_Source"])(
    "can not pass for ours: %s",
    (name) => {
      expect(build([name, "sentinel"])).toEqual(OURS);
    },
  );
});

describe("framing", () => {
  it("is the upstream's single length, in our spelling of the number", () => {
    expect(build(["content-length", "0012"])).toEqual(["content-length", "12", ...OURS]);
  });

  it("leaves chunks to the connection to the client", () => {
    expect(build(["Transfer-Encoding", "chunked"])).toEqual(OURS);
  });

  it.each([204, 101])("of a %d has no length", (status) => {
    expect(build(["Content-Length", "5"], { status, canChunk: false })).toEqual(OURS);
  });

  it("keeps the length that a HEAD or a 304 talks about", () => {
    expect(build(["Content-Length", "5"], { canChunk: false })).toEqual(["Content-Length", "5", ...OURS]);
    expect(build(["Content-Length", "5"], { status: 304, canChunk: false })).toEqual(["Content-Length", "5", ...OURS]);
  });

  it("announces trailers only where they can come", () => {
    expect(build(["Trailer", "X-T", "Transfer-Encoding", "chunked"])).toEqual(["Trailer", "X-T", ...OURS]);
    expect(build(["Trailer", "X-T", "Transfer-Encoding", "chunked"], { canChunk: false })).toEqual(OURS);
    expect(build(["Trailer", "X-T", "Content-Length", "5"])).toEqual(["Content-Length", "5", ...OURS]);
  });

  it.each([
    [["Content-Length", "5", "Content-Length", "5"]],
    [["Content-Length", "5", "content-length", "6"]],
    [["Content-Length", "5", "Transfer-Encoding", "chunked"]],
    [["Content-Length", "+5"]],
    [["Content-Length", "5, 5"]],
    [["Content-Length", ""]],
    [["Content-Length", "9".repeat(16)]],
    [["Transfer-Encoding", "gzip, chunked"]],
    [["Transfer-Encoding", ""]],
    [["Transfer-Encoding", "chunked", "Transfer-Encoding", "chunked"]],
  ])("that is not clean is told: %j", (raw) => {
    expect(buildResponseHeaders(raw, CONTEXT)).toBeTypeOf("string");
  });
});

describe("trailers", () => {
  it("pass, but for what frames, routes, authenticates or is ours", () => {
    const raw = ["X-Sum", "1", "Content-Length", "5", "Transfer-Encoding", "chunked", "Set-Cookie", "a", "x-sum", "2"];
    raw.push("X-Request-Id", "theirs", "X-Unkey-Error-Source", "sentinel", "Connection", "close", "Trailer", "X");
    expect(buildTrailers(raw)).toEqual([
      ["X-Sum", "1"],
      ["x-sum", "2"],
    ]);
    expect(buildTrailers(["Authorization", "x"])).toBeNull();
  });

  it("that are not clean are left out", () => {
    expect(buildTrailers(["X A", "1", "X-B", "a\x01", "X-C", "\xe9"])).toEqual([["X-C", "\xe9"]]);
  });
});

describe("whatever the upstream sends", () => {
  const name = fc.constantFrom(
    "Content-Length",
    "Transfer-Encoding",
    "Connection",
    "Trailer",
    "X-Request-Id",
    "X-Unkey-Error-Source",
    "Set-Cookie",
    "X-A",
  );
  const value = fc.constantFrom("1", "22", "chunked", "close", "x-a, content-length", "", "gzip");

  it("at most one length goes on, no coding, and one request id", () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(name, value), { maxLength: 10 }), fc.boolean(), (fields, canChunk) => {
        const built = buildResponseHeaders(fields.flat(), { ...CONTEXT, canChunk });
        if (typeof built === "string") return;
        const names = built
          .list("req_1")
          .filter((_, index) => index % 2 === 0)
          .map((each) => each.toLowerCase());
        const count = (wanted: string) => names.filter((each) => each === wanted).length;
        expect(count("content-length")).toBeLessThanOrEqual(1);
        expect(count("transfer-encoding")).toBe(0);
        expect(count("connection")).toBe(0);
        expect(count("x-request-id")).toBe(1);
        expect(count("x-unkey-error-source")).toBe(0);
        if (count("trailer") > 0) expect([canChunk, count("content-length")]).toEqual([true, 0]);
      }),
    );
  });
});
