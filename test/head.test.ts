import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { isFault } from "../src/faults/fault.ts";
import { headerCount, headerValue, normalizeFieldName, type RequestHead, readHead } from "../src/head.ts";

const LIMITS = { headerLines: 100, headerBytes: 16_384, targetBytes: 8192, viaToken: "x7f3" };

interface Sent {
  method?: string;
  target?: string;
  version?: string;
  headers?: string[];
}

function read({ method = "GET", target = "/", version = "1.1", headers = [] }: Sent) {
  const hasHost = headers.some((text, i) => i % 2 === 0 && text.toLowerCase() === "host");
  return readHead(method, target, version, hasHost ? headers : ["Host", "gw", ...headers], LIMITS);
}

function clean(sent: Sent): RequestHead {
  const head = read(sent);
  if (isFault(head)) throw new Error(`refused: ${head.detail}`);
  return head;
}

function codeOf(sent: Sent): string {
  const head = read(sent);
  if (!isFault(head)) throw new Error("let through");
  expect(head.errors.length).toBe(head.code.endsWith("invalid_request") || head.code.endsWith("path") ? 1 : 0);
  return head.code.split(":").at(-1) ?? "";
}

describe("a clean head", () => {
  it("says where each field that matters stands", () => {
    const headers = [
      "HOST",
      "API.Example.com.:8080",
      "aUTHORIZATION",
      "Bearer unkey_1",
      "content-TYPE",
      "application/json",
      "Content-Length",
      "12",
      "Expect",
      "100-Continue",
    ];
    expect(read({ method: "POST", target: "/%61?b", headers })).toEqual({
      method: "POST",
      version: "1.1",
      target: { path: "/a", query: "?b", hasEncodedSlash: false, hasSemicolon: false, authority: null },
      rawHeaders: headers,
      hostField: "API.Example.com.:8080",
      host: "api.example.com",
      authorization: "Bearer unkey_1",
      authorizationCount: 1,
      nominated: null,
      body: { kind: "length", bytes: 12 },
      contentType: "application/json",
      expectContinue: true,
      upgradeWebSocket: false,
      closeAfter: false,
    });
  });

  it("leaves two Authorization fields to whoever decides, the first one's value kept", () => {
    const head = clean({ headers: ["Authorization", "", "authorization", "Bearer unkey_2"] });
    expect(head).toMatchObject({ authorization: "", authorizationCount: 2 });
    expect(clean({})).toMatchObject({ authorization: null, authorizationCount: 0 });
  });

  it("tells fields of the same length apart", () => {
    const head = clean({
      headers: ["Via", "1.0 x", "Age", "1", "Accept", "*/*", "Referer", "x", "User-Agent", "y", "If-None-Match", "z"],
    });
    expect(head).toMatchObject({ authorizationCount: 0, nominated: null, contentType: null });
    expect(clean({ headers: ["X-Abcdefghij", "1", "X-Abcdefghijkl", "1", "X-Abcdefghijklmno", "1"] }).body).toEqual({
      kind: "none",
    });
  });

  it("takes 100 fields, and says the limit for more", () => {
    const fields = (count: number) => Array.from({ length: count - 1 }, (_, i) => [`X-${i}`, "1"]).flat();
    clean({ headers: fields(100) });
    expect(codeOf({ headers: fields(101) })).toBe("headers_too_large");
    expect(read({ headers: fields(101) })).toMatchObject({ detail: expect.stringContaining("100") });
  });

  it("takes fields of 16384 bytes, each with a colon, a space and a line end, and says the limit for more", () => {
    const fields = (bytes: number) => ["Host", "gw", "X-A", "a".repeat(bytes - "Host: gw\r\nX-A: \r\n".length)];
    clean({ headers: fields(16_384) });
    expect(codeOf({ headers: fields(16_385) })).toBe("headers_too_large");
    expect(read({ headers: fields(16_385) })).toMatchObject({ detail: expect.stringContaining("16384") });
  });

  it("takes a target of 8192 bytes, and says the limit for more", () => {
    clean({ target: `/${"a".repeat(8191)}` });
    expect(codeOf({ target: `/${"a".repeat(8192)}` })).toBe("target_too_long");
    expect(read({ target: `/${"a".repeat(8192)}` })).toMatchObject({ detail: expect.stringContaining("8192") });
  });
});

describe("version and method", () => {
  it.each(["2.0", "1.2", "0.9", "1.10", "", "3.0"])("HTTP/%s is 505", (version) => {
    expect(codeOf({ version })).toBe("http_version_not_supported");
  });

  it.each([
    ["CONNECT", "gw:80"],
    ["TRACE", "/"],
    ["TRACE", "//"],
  ])("%s %s is 405 and names what is allowed", (method, target) => {
    expect(codeOf({ method, target })).toBe("method_not_allowed");
    expect(read({ method, target })).toMatchObject({
      allow: ["DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"],
      detail: expect.stringContaining("PATCH"),
    });
  });
});

describe("framing", () => {
  it.each([
    [["Content-Length", "0"], { kind: "length", bytes: 0 }],
    [["content-length", "003"], { kind: "length", bytes: 3 }],
    [["Content-Length", "9007199254740991"], { kind: "length", bytes: 9007199254740991 }],
    [["Transfer-Encoding", "chunked"], { kind: "chunked" }],
    [["transfer-encoding", "CHUNKED"], { kind: "chunked" }],
    [[], { kind: "none" }],
  ])("%j", (headers, body) => {
    expect(clean({ method: "POST", headers }).body).toEqual(body);
  });

  it.each(
    [
      ["Content-Length", "3", "Transfer-Encoding", "chunked"],
      ["Transfer-Encoding", "chunked", "Content-Length", "3"],
      ["Transfer-Encoding", "identity", "Content-Length", "3"],
      ["Content-Length", "3", "Content-Length", "3"],
      ["Content-Length", "3", "content-length", "4"],
      ...["3, 3", "+3", "-0", "0x3", "3_0", "", " 3", "3 ", "3;", "1e1", "9007199254740992", "1".repeat(20)].map(
        (length) => ["Content-Length", length],
      ),
      ...[
        "xchunked",
        "\vchunked",
        "chunked,",
        ",chunked",
        "chunked;a",
        '"chunked"',
        "gzip, chunked",
        "chunked, identity",
        "chunked, chunked",
        "",
        "chunked\xa0",
        "identity",
        "chun\u212aed",
      ].map((coding) => ["Transfer-Encoding", coding]),
      ["Transfer-Encoding", "chunked", "Transfer-Encoding", "chunked"],
      ["Transfer-Encoding", "chunked", "TRANSFER-ENCODING", "identity"],
      ["Transfer_Encoding", "chunked"],
      ["Transfer.Encoding", "chunked"],
      ["Content_Length", "3"],
      ["content.length", "3"],
      ["Content-Length", "3", "Content_Length", "3"],
      ["Content_Type", "application/json"],
      ["Content-Type", "application/json", "content-type", "text/plain"],
      ["Expect", "100-continue", "Expect", "100-continue"],
      ["Upgrade", "websocket", "upgrade", "websocket"],
    ].map((headers) => ({ headers })),
  )("$headers is refused", ({ headers }) => {
    expect(codeOf({ method: "POST", headers })).toBe("invalid_request");
  });

  it("refuses a transfer coding on HTTP/1.0", () => {
    expect(codeOf({ version: "1.0", headers: ["Transfer-Encoding", "chunked"] })).toBe("invalid_request");
  });
});

describe("Host", () => {
  it.each([
    ["gw", "gw"],
    ["GW:80", "gw"],
    ["a-b_c.example.com.", "a-b_c.example.com"],
    ["xn--bcher-kva.example:65535", "xn--bcher-kva.example"],
    ["127.0.0.1:0", "127.0.0.1"],
    ["[::1]", "[::1]"],
    ["[2001:DB8::A]:443", "[2001:db8::a]"],
    ["[1:2:3:4:5:6:7:8]", "[1:2:3:4:5:6:7:8]"],
    ["[::ffff:10.1.2.3]", "[::ffff:10.1.2.3]"],
    ["[1:2:3:4:5:6:1.2.3.4]", "[1:2:3:4:5:6:1.2.3.4]"],
    ["[::]", "[::]"],
    [`${"a".repeat(253)}.`, "a".repeat(253)],
  ])("%s is matched as %s", (field, host) => {
    expect(clean({ headers: ["Host", field] })).toMatchObject({ host, hostField: field });
  });

  it.each([
    "",
    ".",
    "..",
    ".gw",
    "a..b",
    "gw..",
    "a, b",
    "a,b",
    "a/b",
    "a/b@c",
    "a@b",
    "user:pw@gw",
    "a b",
    "gw ",
    "gw:",
    "gw:x",
    "gw:-1",
    "gw:65536",
    "gw:99999",
    "gw:000080",
    "gw:80:80",
    "gw#",
    "gw?x",
    "gw\\x",
    "g%77",
    "b\xfccher",
    "*",
    "[::1",
    "::1",
    "[]",
    "[:]",
    "[::1]x",
    "[::1]:",
    "[::1]:99999",
    "[fe80::1%25eth0]",
    "[v1.x]",
    "[1:2:3:4:5:6:7]",
    "[1:2:3:4:5:6:7:8:9]",
    "[1::2::3]",
    "[1:2:3:4:5:6:7:8::]",
    "[12345::]",
    "[::g]",
    "[::1.2.3]",
    "[::1.2.3.256]",
    "[::01.2.3.4]",
    "[1.2.3.4::]",
    "[1.2.3.4]",
    "[:::]",
    "a".repeat(254),
  ])("%j is none", (field) => {
    expect(codeOf({ headers: ["Host", field] })).toBe("invalid_request");
  });

  it("is there once, but for HTTP/1.0, where it may be absent", () => {
    expect(codeOf({ headers: ["Host", "gw", "Host", "gw"] })).toBe("invalid_request");
    expect(codeOf({ version: "1.0", headers: ["Host", "gw", "host", "other"] })).toBe("invalid_request");
    expect(isFault(readHead("GET", "/", "1.1", [], LIMITS))).toBe(true);
    expect(readHead("GET", "/", "1.0", [], LIMITS)).toMatchObject({ host: null, hostField: null });
  });
});

describe("absolute-form", () => {
  it.each([
    ["http://gw/a", "gw"],
    ["HTTP://GW/a", "gw"],
    ["http://gw:80/a", "gw"],
    ["https://gw/a", "gw:443"],
    ["http://gw./a", "gw"],
    ["http://[::1]:8080/a", "[::1]:8080"],
  ])("%s agrees with Host %s and becomes origin-form", (target, host) => {
    const head = clean({ target, headers: ["Host", host] });
    expect(head.target.path).toBe("/a");
    expect(head.hostField).toBe(head.target.authority);
  });

  it.each([
    ["http://other/admin", "gw"],
    ["http://gw:8080/", "gw"],
    ["http://gw/", "gw:8080"],
    ["http://gw:80/", "gw:443"],
    ["http://gw,other/", "gw"],
    ["http://g%77/", "gw"],
    ["http://gw\\@other/", "gw"],
  ])("%s does not agree with Host %s", (target, host) => {
    expect(["invalid_request", "ambiguous_path"]).toContain(codeOf({ target, headers: ["Host", host] }));
  });

  it("gives HTTP/1.0 its host, which has to be one", () => {
    expect(readHead("GET", "http://GW:81/a", "1.0", [], LIMITS)).toMatchObject({ host: "gw", hostField: "GW:81" });
    expect(isFault(readHead("GET", "http://g,w/a", "1.0", [], LIMITS))).toBe(true);
  });
});

describe("Connection", () => {
  it.each([
    ["1.1", [], false],
    ["1.1", ["close"], true],
    ["1.1", ["Close"], true],
    ["1.1", ["keep-alive, close"], true],
    ["1.1", ["keep-alive"], false],
    ["1.0", [], true],
    ["1.0", ["Keep-Alive"], false],
    ["1.0", ["x, keep-alive"], false],
    ["1.0", ["keep-alive", "close"], true],
  ])("HTTP/%s with %j: closes after it, %s", (version, lists, closeAfter) => {
    const headers = lists.flatMap((list) => ["Connection", list]);
    expect(clean({ version, headers }).closeAfter).toBe(closeAfter);
  });

  it("nominates what it lists beyond its own options, over all its fields", () => {
    const headers = ["Connection", "", "connection", "X-Custom , TE,,\tkeep-alive", "CONNECTION", "X_Other"];
    expect([...(clean({ headers }).nominated ?? [])]).toEqual(["x-custom", "te", "x_other"]);
    expect(clean({ headers: ["Connection", "Upgrade, close"] }).nominated).toBeNull();
  });

  it.each([
    "authorization",
    "close, Authorization",
    "X-Unkey-Principal",
    "x_unkey_principal",
    "X.Unkey-Anything",
    "x~unkey!anything",
    "X-Forwarded-For",
    "x_forwarded_host",
    "host",
    "Content-Type",
    "content_type",
    "Content-Length",
    "content.length",
    "Content-Encoding",
    "transfer-encoding",
    "TRANSFER_ENCODING",
    "Forwarded",
    "X-Real-IP",
    "X-Request-Id",
    "via",
    "\tauthorization\t",
    "keep-alive,x,host",
  ])("that lists %j is refused", (list) => {
    expect(codeOf({ headers: ["Connection", list] })).toBe("invalid_request");
    expect(codeOf({ headers: ["Connection", "", "Connection", list] })).toBe("invalid_request");
  });

  it.each(["a b", '"authorization"', "authorization;q=1", "\xa0authorization", "(x)"])(
    "%j is no list of names",
    (list) => {
      expect(codeOf({ headers: ["Connection", list] })).toBe("invalid_request");
    },
  );
});

describe("Expect, Via and *", () => {
  it("meets 100-continue alone, and ignores any expectation of HTTP/1.0", () => {
    expect(clean({ headers: ["Expect", "100-CONTINUE"] }).expectContinue).toBe(true);
    expect(codeOf({ headers: ["Expect", "200-ok"] })).toBe("expectation_failed");
    expect(codeOf({ headers: ["Expect", ""] })).toBe("expectation_failed");
    expect(clean({ version: "1.0", headers: ["Expect", "200-ok"] }).expectContinue).toBe(false);
  });

  it("sees a loop in any Via field", () => {
    expect(codeOf({ headers: ["Via", "1.1 other", "via", "1.1 a, 1.1 sentinel (x7f3)"] })).toBe("loop_detected");
    clean({ headers: ["Via", "1.1 sentinel (other)"] });
  });

  it("refuses * and ambiguous targets", () => {
    expect(codeOf({ target: "*" })).toBe("invalid_request");
    expect(codeOf({ target: "//admin" })).toBe("ambiguous_path");
  });

  it("goes by the order of its checks", () => {
    const headers = ["Host", "a b", "Connection", "host", "Expect", "x", "Via", "x7f3"];
    expect(read({ target: "//", headers })).toMatchObject({ errors: [{ location: "headers.host" }] });
    headers[1] = "gw";
    expect(read({ target: "//", headers })).toMatchObject({ errors: [{ location: "headers.connection" }] });
    headers[3] = "close";
    expect(codeOf({ target: "//", headers })).toBe("expectation_failed");
    headers[5] = "100-continue";
    expect(codeOf({ target: "//", headers })).toBe("loop_detected");
    headers[7] = "1.1 x";
    expect(codeOf({ target: "//", headers })).toBe("ambiguous_path");
  });
});

describe("WebSocket", () => {
  const upgrade = ["Connection", "keep-alive, Upgrade", "Upgrade", "WebSocket"];
  it.each([
    ["asked for", { headers: upgrade }, true],
    ["with a length of nought", { headers: [...upgrade, "Content-Length", "0"] }, true],
    ["with a body", { headers: [...upgrade, "Content-Length", "1"] }, false],
    ["with chunks", { headers: [...upgrade, "Transfer-Encoding", "chunked"] }, false],
    ["by POST", { method: "POST", headers: upgrade }, false],
    ["by HTTP/1.0", { version: "1.0", headers: upgrade }, false],
    ["among others", { headers: ["Connection", "upgrade", "Upgrade", "websocket, h2c"] }, false],
    ["as another protocol", { headers: ["Connection", "upgrade", "Upgrade", "h2c"] }, false],
    ["without Upgrade", { headers: ["Connection", "upgrade"] }, false],
    ["without Connection", { headers: ["Upgrade", "websocket"] }, false],
  ] as [string, Sent, boolean][])("%s", (_, sent, asked) => {
    expect(clean(sent).upgradeWebSocket).toBe(asked);
  });
});

describe("reading fields by name", () => {
  const head = clean({ headers: ["X-A", "1", "x-a", "2", "X-B", "3", "X_B", "4"] });
  it("tells absent, once and repeated apart", () => {
    expect([headerValue(head, "x-a"), headerCount(head, "x-a")]).toEqual([null, 2]);
    expect([headerValue(head, "x-b"), headerCount(head, "x-b")]).toEqual([null, 2]);
    expect([headerValue(head, "x-c"), headerCount(head, "x-c")]).toEqual([null, 0]);
  });

  it("takes one that Connection names for absent, however often it is there", () => {
    const named = clean({ headers: ["Connection", "x-a", "X-A", "1", "X-A", "2"] });
    expect([headerValue(named, "x-a"), headerCount(named, "x-a")]).toEqual([null, 0]);
  });

  it("takes no name with a letter or digit in the hyphen's place for it", () => {
    const others = clean({
      headers: ["ContentxLength", "1", "Content0Type", "x", "TransferxEncoding", "x", "X5A", "1"],
    });
    expect([others.body, others.contentType]).toEqual([{ kind: "none" }, null]);
    expect(headerCount(others, "x-a")).toBe(0);
  });

  it("normalises names as servers that can not tell the spellings apart do", () => {
    expect(normalizeFieldName("X_Unkey.Principal")).toBe("x-unkey-principal");
    expect(normalizeFieldName("!#$%&'*+.^_`|~")).toBe("-".repeat(14));
    expect(normalizeFieldName("Host")).toBe("host");
  });
});

describe("for any head", () => {
  const names = fc.constantFrom(
    ..."Host host Content-Length content_length Transfer-Encoding Connection Expect Upgrade Via Content-Type X-A".split(
      " ",
    ),
  );
  const values = fc.oneof(
    fc.constantFrom("gw", "3", "chunked", "close", "upgrade", "websocket", "100-continue", "host", "x7f3", ""),
    fc.string({ unit: "binary", maxLength: 8 }),
  );
  it("never throws, and lets nothing through whose framing could be read in two ways", () => {
    const heads = fc.array(fc.tuple(names, values), { maxLength: 8 });
    fc.assert(
      fc.property(heads, fc.constantFrom("1.0", "1.1"), (pairs, version) => {
        const head = readHead("POST", "/", version, pairs.flat(), LIMITS);
        if (isFault(head)) return;
        const framing = pairs.filter(([name]) => /^(content.length|transfer.encoding)$/i.test(name));
        expect(framing.length).toBeLessThanOrEqual(1);
        expect(head.body.kind === "none").toBe(framing.length === 0);
        expect(pairs.filter(([name]) => /^host$/i.test(name)).length).toBeLessThanOrEqual(1);
      }),
      { numRuns: 5_000 },
    );
  });
});
