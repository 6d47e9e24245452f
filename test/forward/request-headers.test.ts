import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { buildRequestHeaders, type RequestHeadersContext } from "../../src/forward/request-headers.ts";
import { normalizeFieldName, type RequestHead, readHead } from "../../src/head.ts";

const CONTEXT: RequestHeadersContext = {
  requestId: "req_1",
  via: "1.1 sentinel (i)",
  clientIp: "203.0.113.7",
  trustedPeer: false,
  peerAddress: "10.0.0.1",
  scheme: "http",
  port: 8080,
  authority: "upstream:3000",
  preserveHost: true,
  authorization: "preserve",
  principal: null,
  body: { kind: "none" },
  upgrade: false,
};

/** What is added to every request of an untrusted client. */
const OURS = [
  ["X-Forwarded-For", "203.0.113.7"],
  ["X-Forwarded-Proto", "http"],
  ["X-Forwarded-Host", "api.example:81"],
  ["X-Forwarded-Port", "8080"],
  ["X-Request-Id", "req_1"],
  ["Via", "1.1 sentinel (i)"],
];

type Fields = readonly (readonly [name: string, value: string])[];

/** The head as the gateway reads it; `fields` come behind Host. */
function headOf(fields: Fields, method = "GET"): RequestHead {
  const raw = [["Host", "api.example:81"], ...fields].flat() as string[];
  const head = readHead(method, "/", "1.1", raw, {
    headerLines: 100,
    headerBytes: 16_384,
    targetBytes: 8192,
    viaToken: "i",
  });
  if ("kind" in head) throw new Error(head.detail);
  return head;
}

function build(fields: Fields, context: Partial<RequestHeadersContext> = {}, method = "GET"): [string, string][] {
  const head = headOf(fields, method);
  return pairs(buildRequestHeaders(head, { ...CONTEXT, body: head.body, ...context }));
}

function pairs(raw: readonly string[]): [string, string][] {
  const result: [string, string][] = [];
  for (let at = 0; at < raw.length; at += 2) result.push([raw[at]!, raw[at + 1]!]);
  return result;
}

/** The client's fields that went on, beyond Host. */
function copied(fields: Fields, context: Partial<RequestHeadersContext> = {}): [string, string][] {
  const ours = new Set(OURS.map(String));
  return build(fields, context).filter((pair) => pair[0] !== "Host" && !ours.has(String(pair)));
}

describe("fields of the client", () => {
  it("keep their case, their order, their repeats and their bytes", () => {
    const fields: Fields = [
      ["X-B", "1"],
      ["aCCept", "caf\xe9"],
      ["x-b", "2"],
      ["Cookie", "a=1; b=2"],
      ["Cookie", "c=3"],
      ["traceparent", "00-1-2-01"],
      ["tracestate", ""],
      ["__proto__", "x"],
      ["If-None-Match", '"a"'],
      ["Range", "bytes=0-1"],
      ["X-Trace_Id", "kept: it is like none of ours"],
    ];
    expect(build(fields)).toEqual([["Host", "api.example:81"], ...fields, ...OURS]);
  });

  it("send Authorization on byte for byte, whatever it is, on guarded and open routes", () => {
    for (const value of ["Bearer unkey_abc", "bearer  x ", "Basic \xff", ""]) {
      expect(copied([["aUthorization", value]])).toEqual([["aUthorization", value]]);
      expect(copied([["Authorization", value]], { principal: "{}" })).toContainEqual(["Authorization", value]);
    }
  });

  it("do not send Authorization on where the route strips it", () => {
    expect(copied([["authorization", "Bearer unkey_abc"]], { authorization: "strip" })).toEqual([]);
  });

  it.each([
    "Connection",
    "Keep-Alive",
    "Proxy-Connection",
    "Proxy-Authenticate",
    "Proxy-Authorization",
    "Proxy_Authorization",
    "TE",
    "Trailer",
    "Upgrade",
    "HTTP2-Settings",
    "http2_settings",
    "Keep.Alive",
  ])("drop what is for one hop: %s", (name) => {
    for (const spelling of [name, name.toLowerCase(), name.toUpperCase()]) {
      expect(copied([[spelling, "x"]])).toEqual([]);
    }
  });

  it("drop Expect", () => {
    expect(copied([["EXPECT", "100-continue"]])).toEqual([]);
  });

  it("drop what Connection names, in any case and over several fields", () => {
    const fields: Fields = [
      ["Connection", ""],
      ["connection", "X-Custom, close"],
      ["x-custom", "1"],
      ["X-CUSTOM", "2"],
      ["X-Other", "3"],
      ["Connection", "max-forwards"],
      ["Max-Forwards", "3"],
    ];
    expect(copied(fields)).toEqual([["X-Other", "3"]]);
  });

  it("never drop Authorization, Host or Content-Type for Connection, even where a head let that through", () => {
    const head = headOf([
      ["Authorization", "Bearer unkey_a"],
      ["Content-Type", "text/plain"],
    ]);
    const nominating = { ...head, nominated: new Set(["authorization", "content-type", "host"]) };
    expect(pairs(buildRequestHeaders(nominating, CONTEXT)).map(([name]) => name)).toEqual(
      expect.arrayContaining(["Host", "Authorization", "Content-Type"]),
    );
  });

  it.each([
    "X-Unkey-Principal",
    "x-unkey-principal",
    "X_Unkey_Principal",
    "X-Unkey_Principal",
    "X.Unkey.Principal",
    "X~Unkey!Principal",
    "x+request+id",
    "Content*Type",
    "x-UNKEY-anything",
    "X-Unkey-Error-Source",
    "X-Request-Id",
    "x_request_id",
    "Content_Length",
    "content.length",
    "Content_Type",
    "Transfer_Encoding",
    "transfer.encoding",
  ])("can not pass for ours or for framing, even where a head let it through: %s", (name) => {
    const head = { ...headOf([]), rawHeaders: ["Host", "api.example:81", name, "forged"] };
    const send = (changes: Partial<RequestHeadersContext>) =>
      pairs(buildRequestHeaders(head, { ...CONTEXT, ...changes }));
    for (const trustedPeer of [false, true]) {
      const built = send({ trustedPeer, principal: "{}" });
      expect(built.map(([, value]) => value)).not.toContain("forged");
      expect(built.filter(([each]) => normalizeFieldName(each) === "x-unkey-principal")).toEqual([
        ["X-Unkey-Principal", "{}"],
      ]);
    }
    expect(send({}).map(([each]) => each)).not.toContain("X-Unkey-Principal");
  });

  it("take one off Max-Forwards of OPTIONS, and leave it alone elsewhere", () => {
    const sent = (value: string, method: string) =>
      build([["Max-Forwards", value]], {}, method).find(([name]) => name === "Max-Forwards")?.[1];
    expect(sent("3", "OPTIONS")).toBe("2");
    expect(sent("010", "OPTIONS")).toBe("9");
    expect(sent("3", "GET")).toBe("3");
  });
});

describe("Host", () => {
  it("is the client's, where it stood, once", () => {
    const head = headOf([["Accept", "*/*"]]);
    const raw = ["Accept", "*/*", "hOst", "api.example:81"];
    const built = buildRequestHeaders({ ...head, rawHeaders: raw }, CONTEXT);
    expect(built.slice(0, 4)).toEqual(raw);
    expect(built.filter((text) => /^host$/i.test(text))).toHaveLength(1);
  });

  it("is the target's where the route does not preserve it", () => {
    const built = build([], { preserveHost: false });
    expect(built[0]).toEqual(["Host", "upstream:3000"]);
    expect(built).toContainEqual(["X-Forwarded-Host", "api.example:81"]);
  });

  it("is the target's for an HTTP/1.0 client that sent none", () => {
    const head = { ...headOf([]), rawHeaders: ["Accept", "*/*"], hostField: null, host: null };
    const built = pairs(buildRequestHeaders(head, CONTEXT));
    expect(built).toContainEqual(["Host", "upstream:3000"]);
    expect(built.map(([name]) => name)).not.toContain("X-Forwarded-Host");
  });
});

describe("framing", () => {
  it("is a length made anew from what was understood", () => {
    expect(copied([["content-LENGTH", "007"]])).toEqual([["content-LENGTH", "7"]]);
    expect(copied([["Content-Length", "0"]])).toEqual([["Content-Length", "0"]]);
  });

  it("is chunked and nothing else where the body comes in chunks", () => {
    expect(copied([["Transfer-Encoding", "CHUNKED"]])).toEqual([["Transfer-Encoding", "chunked"]]);
  });

  it("is the length of a body that was read, however it came", () => {
    const body = { kind: "length", bytes: 12 } as const;
    expect(copied([["Transfer-Encoding", "chunked"]], { body })).toEqual([["Content-Length", "12"]]);
    expect(copied([["Content-Length", "12"]], { body })).toEqual([["Content-Length", "12"]]);
  });

  it.each([
    ["GET", null],
    ["HEAD", null],
    ["DELETE", null],
    ["OPTIONS", null],
    ["POST", "0"],
    ["PUT", "0"],
    ["PATCH", "0"],
  ])("of a %s without a body is %s", (method, length) => {
    const lengths = build([], {}, method).filter(([name]) => /content-length|transfer-encoding/i.test(name));
    expect(lengths).toEqual(length === null ? [] : [["Content-Length", length]]);
  });

  it("of a handshake is made by us", () => {
    const fields: Fields = [
      ["Connection", "keep-alive, Upgrade"],
      ["Upgrade", "WebSocket"],
      ["Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="],
    ];
    expect(copied(fields, { upgrade: true })).toEqual([
      ["Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="],
      ["Connection", "Upgrade"],
      ["Upgrade", "websocket"],
    ]);
  });
});

describe("what is said of the client", () => {
  const ABOUT = [
    "X-Forwarded-For",
    "X-Forwarded-Proto",
    "X-Forwarded-Host",
    "X-Forwarded-Port",
    "X-Forwarded-User",
    "X-Forwarded-Prefix",
    "Forwarded",
    "X-Real-IP",
    "X-Original-URL",
    "X-Original-Method",
    "X-Rewrite-Url",
    "X-HTTP-Method-Override",
    "X-HTTP-Method",
    "X-Method-Override",
  ];

  it.each(ABOUT)("by an untrusted client is dropped in any spelling: %s", (name) => {
    for (const spelling of [
      name,
      name.toUpperCase(),
      name.replaceAll("-", "_"),
      name.replaceAll("-", "."),
      name.replace("-", "_"),
    ]) {
      const values = build([[spelling, "forged"]]).map(([, value]) => value);
      expect(values, spelling).not.toContain("forged");
    }
  });

  it.each(ABOUT.filter((name) => name !== "X-Forwarded-For"))(
    "by a trusted proxy is kept, in its own spelling: %s",
    (name) => {
      expect(build([[name, "said"]], { trustedPeer: true })).toContainEqual([name, "said"]);
      if (name.includes("-")) {
        const values = build([[name.replaceAll("-", "_"), "forged"]], { trustedPeer: true }).map(([, value]) => value);
        expect(values).not.toContain("forged");
      }
    },
  );

  it("by a trusted proxy is extended by the proxy itself", () => {
    const fields: Fields = [
      ["X-Forwarded-For", "198.51.100.1, 10.0.0.9"],
      ["x-forwarded-for", "10.0.0.8"],
      ["X-Forwarded-For", ""],
      ["X-Forwarded-Proto", "https"],
    ];
    const built = build(fields, { trustedPeer: true });
    expect(built.filter(([name]) => /^x-forwarded-/i.test(name))).toEqual([
      ["X-Forwarded-Proto", "https"],
      ["X-Forwarded-For", "198.51.100.1, 10.0.0.9, 10.0.0.8, 10.0.0.1"],
      ["X-Forwarded-Host", "api.example:81"],
    ]);
  });

  it("by a trusted proxy that says nothing is made from the socket", () => {
    expect(build([], { trustedPeer: true })).toEqual([
      ["Host", "api.example:81"],
      ["X-Forwarded-For", "10.0.0.1"],
      ...OURS.slice(1),
    ]);
  });

  it("Via keeps what others wrote, ours behind it", () => {
    const vias = build([
      ["Via", "1.0 fred"],
      ["via", "1.1 other (x)"],
    ]).filter(([name]) => name.toLowerCase() === "via");
    expect(vias.map(([, value]) => value)).toEqual(["1.0 fred", "1.1 other (x)", "1.1 sentinel (i)"]);
  });
});

describe("whatever the client sends", () => {
  const separator = fc.constantFrom("-", "_", ".");
  const family = fc.constantFrom(
    ["x", "unkey", "principal"],
    ["x", "forwarded", "for"],
    ["x", "forwarded", "proto"],
    ["x", "request", "id"],
    ["x", "http", "method", "override"],
    ["x", "real", "ip"],
    ["transfer", "encoding"],
    ["content", "length"],
    ["proxy", "authorization"],
    ["x", "custom"],
    ["accept"],
    ["te"],
  );
  const name = fc
    .tuple(family, fc.array(separator, { minLength: 3, maxLength: 3 }), fc.infiniteStream(fc.boolean()))
    .map(([words, separators, upper]) =>
      words
        .map((word, index) => (index === 0 ? word : `${separators[index - 1]}${word}`))
        .join("")
        .replace(/[a-z]/g, (letter) => (upper.next().value ? letter.toUpperCase() : letter)),
    );
  const field = fc.tuple(name, fc.stringMatching(/^[!-~]{1,12}$/));

  it("each field of ours is there once, as we said it, and framing is ours", () => {
    fc.assert(
      fc.property(fc.array(field, { maxLength: 12 }), fc.boolean(), (fields, trustedPeer) => {
        const raw = ["Host", "a", ...fields.flat()];
        const base = headOf([]);
        const head: RequestHead = { ...base, rawHeaders: raw, hostField: "a", body: { kind: "chunked" } };
        const context = { ...CONTEXT, trustedPeer, principal: "{}", body: { kind: "chunked" } as const };
        const built = pairs(buildRequestHeaders(head, context));
        const named = (wanted: string) => built.filter(([each]) => normalizeFieldName(each) === wanted);
        expect(named("x-unkey-principal")).toEqual([["X-Unkey-Principal", "{}"]]);
        expect(named("x-request-id")).toEqual([["X-Request-Id", "req_1"]]);
        expect(named("transfer-encoding")).toEqual([["Transfer-Encoding", "chunked"]]);
        expect(named("content-length")).toEqual([]);
        expect(named("proxy-authorization")).toEqual([]);
        expect(named("host")).toEqual([["Host", "a"]]);
        expect(named("x-forwarded-for")).toHaveLength(1);
        if (!trustedPeer) expect(named("x-forwarded-for")[0]![1]).toBe(CONTEXT.clientIp);
      }),
      { numRuns: 500 },
    );
  });
});
