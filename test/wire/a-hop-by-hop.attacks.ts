import { expect } from "vitest";
import { valuesOf } from "../support/http-parsers.ts";
import { fieldOf } from "../support/raw-client.ts";
import { answer, answerOk } from "../support/recording-upstream.ts";
import {
  type Attack,
  type AttackResult,
  auth,
  denied,
  KEYS,
  refused,
  served,
  servedAndClosed,
} from "../support/rig.ts";
import { asChunks, chunked, get, post, SMUGGLED } from "./wire.ts";

const INVALID = "err:user:bad_request:invalid_request";
const BAD_GATEWAY = "err:sentinel:upstream:bad_gateway";

/** The value of a field in the one request that went up. */
function sent({ requests }: AttackResult, name: string): string[] {
  return requests.flatMap((request) => valuesOf(request, name));
}

/** A field that a proxy consumes must not be there, whatever its case. */
function absent(...names: string[]): (seen: AttackResult) => void {
  return (seen) => {
    for (const name of names) expect([name, sent(seen, name)]).toEqual([name, []]);
  };
}

const nominated: Attack[] = [
  "authorization",
  "AUTHORIZATION, close",
  "x-unkey-principal",
  "x-unkey-anything",
  "x-forwarded-for",
  "x-forwarded-host",
  "host",
  "content-type",
  "content-length",
  "transfer-encoding",
  "close, x_unkey_principal",
].map((names) => ({
  name: `002 a Connection that names ${names} is 400`,
  send: get("/any", `${auth()}Connection: ${names}\r\n`),
  expect: refused(400, INVALID),
}));

export const hopByHop: Attack[] = [
  {
    name: "001 a client can not make the gateway drop Authorization by naming it in Connection",
    send: get("/any", `${auth()}Connection: authorization\r\n`),
    expect: refused(400, INVALID),
  },
  ...nominated,
  ...["GET", "DELETE", "OPTIONS", "POST"].map((method) => ({
    name: `003 Connection: content-length does not unframe the body of ${method}`,
    send: post("/any", SMUGGLED, `${auth()}Connection: content-length\r\n`, method),
    methods: [method],
    expect: refused(400, INVALID),
  })),
  ...["GET", "POST"].map((method) => ({
    name: `004 Connection: transfer-encoding does not unframe the chunked body of ${method}`,
    send: chunked("/any", asChunks(SMUGGLED), `${auth()}Connection: transfer-encoding\r\n`, method),
    expect: refused(400, INVALID),
  })),
  {
    name: "005 a field that Connection names is not forwarded, nor is its name",
    send: get("/any", `${auth()}Connection: x-custom, keep-alive\r\nX-Custom: 1\r\nX-Other: 2\r\n`),
    expect: served(),
    claim: (seen) => {
      absent("x-custom")(seen);
      expect(sent(seen, "connection").join()).not.toMatch(/x-custom/i);
      expect(sent(seen, "x-other")).toEqual(["2"]);
    },
  },
  {
    name: "006 two Connection fields count as one list",
    send: get("/any", `${auth()}Connection:\r\nConnection: x-custom\r\nX-Custom: 1\r\n`),
    expect: served(),
    claim: absent("x-custom"),
  },
  {
    name: "007 hop-by-hop fields are not forwarded",
    send: get(
      "/any",
      `${auth()}Keep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\nProxy-Authorization: Basic eA==\r\nTE: trailers\r\nHTTP2-Settings: AAMA\r\n`,
    ),
    expect: served(),
    claim: absent("keep-alive", "proxy-connection", "proxy-authorization", "http2-settings"),
  },
  {
    name: "007 Proxy-Authorization is no credential",
    send: get("/any", `Proxy-Authorization: Bearer ${KEYS.OK}\r\n`),
    expect: denied(401, "err:unkey:authentication:missing"),
  },
  ...[
    ["GET", get("/any", `${auth()}Trailer: X\r\n`)],
    ["POST with a length", post("/any", "abc", `${auth()}Trailer: X\r\n`)],
    ["a chunked POST", chunked("/any", "3\r\nabc\r\n0\r\nX: 1\r\n\r\n", `${auth()}Trailer: X\r\n`)],
  ].map(([what, bytes]) => ({
    name: `008 Trailer on ${what} is served, and not forwarded`,
    send: bytes as string,
    expect: served(),
    claim: absent("trailer"),
  })),
  {
    name: "009 a credential in a trailer is no credential",
    send: chunked("/any", `3\r\nabc\r\n0\r\n${auth()}\r\n`, "Trailer: Authorization\r\n"),
    expect: refused(401, "err:unkey:authentication:missing"),
  },
  {
    name: "009 trailers of a request are dropped",
    send: chunked("/any", `3\r\nabc\r\n0\r\nX-Late: 1\r\n${auth("RO")}\r\n`, auth()),
    expect: served(),
    claim: ({ requests }) => {
      expect(requests[0]?.trailers).toEqual([]);
      expect(requests[0]?.body.toString()).toBe("abc");
    },
  },
  {
    name: "010 trailers beyond the limit end the request",
    send: chunked("/any", `3\r\nabc\r\n0\r\nX-Late: ${"a".repeat(30_000)}\r\n\r\n`, auth()),
    expect: [431, 400].flatMap((status) => [refused(status), { ...refused(status), up: 1 }]),
    claim: ({ requests }) => expect(requests.filter((request) => request.complete)).toEqual([]),
  },
  {
    name: "011 TE is not forwarded beyond trailers",
    send: get("/any", `${auth()}TE: gzip, trailers\r\nConnection: TE\r\n`),
    expect: served(),
    claim: (seen) => expect(sent(seen, "te").join()).not.toMatch(/gzip/),
  },
  {
    name: "012 Via gains one entry that names no host",
    send: get("/any", `${auth()}Via: 1.0 before\r\n`),
    expect: served(),
    claim: (seen) => expect(sent(seen, "via").join(", ")).toMatch(/^1\.0 before, 1\.1 sentinel \([\w-]+\)$/),
  },
  {
    name: "012 a request that already went through this instance is 508",
    send: async (client) => {
      await client.write(get("/any", auth()));
      await client.until(() => client.received.length > 0);
    },
    expect: served(),
    claim: async ({ rig, requests }) => {
      const via = valuesOf(requests[0] ?? { headers: [] }, "via").join(", ");
      const second = await rig.connect();
      await second.write(get("/any", `${auth()}Via: ${via}, 1.1 other\r\n`));
      const looped = await second.answer();
      second.destroy();
      expect(looped?.status).toBe(508);
      expect(looped?.body.toString()).toContain("sentinel/routing/loop_detected");
    },
  },
  {
    name: "013 OPTIONS * is answered here",
    send: get("*", "", "OPTIONS"),
    methods: ["OPTIONS"],
    expect: { answers: [{ status: 204 }], closed: false, up: 0 },
  },
  { name: "013 GET * is 400", send: get("*", auth()), expect: refused(400, INVALID) },
  {
    name: "014 Max-Forwards: 0 on OPTIONS is answered here",
    send: get("/any", `${auth()}Max-Forwards: 0\r\n`, "OPTIONS"),
    methods: ["OPTIONS"],
    expect: [200, 204].map((status) => ({ answers: [{ status }], closed: false, up: 0 })),
  },
  {
    name: "014 Max-Forwards on OPTIONS is counted down",
    send: get("/any", `${auth()}Max-Forwards: 3\r\n`, "OPTIONS"),
    expect: served(),
    claim: (seen) => expect(sent(seen, "max-forwards")).toEqual(["2"]),
  },
  ...["-1", "abc", "", "0x1", "3, 3", "1e3", "9999999999"].map((value) => ({
    name: `014 Max-Forwards: ${JSON.stringify(value)} on OPTIONS counts no hops, and is 400`,
    send: get("/any", `${auth()}Max-Forwards: ${value}\r\n`, "OPTIONS"),
    expect: refused(400, INVALID),
  })),
  ...["Max-Forwards", "Max_Forwards"].map((name) => ({
    name: `014 Max-Forwards beside another ${name} on OPTIONS is 400`,
    send: get("/any", `${auth()}Max-Forwards: 0\r\n${name}: 5\r\n`, "OPTIONS"),
    expect: refused(400, INVALID),
  })),
  {
    name: "014 Max-Forwards: 00 is 0",
    send: get("/any", `${auth()}Max-Forwards: 00\r\n`, "OPTIONS"),
    methods: ["OPTIONS"],
    expect: { answers: [{ status: 204 }], closed: false, up: 0 },
  },
  {
    name: "014 Max-Forwards: 010 is 10, and counted down",
    send: get("/any", `${auth()}Max-Forwards: 010\r\n`, "OPTIONS"),
    expect: served(),
    claim: (seen) => expect(sent(seen, "max-forwards")).toEqual(["9"]),
  },
  {
    name: "014 Max-Forwards means nothing to other methods",
    send: get("/any", `${auth()}Max-Forwards: abc\r\n`),
    expect: served(),
    claim: (seen) => expect(sent(seen, "max-forwards")).toEqual(["abc"]),
  },
  {
    name: "015 TRACE is 405 and echoes nothing",
    send: get("/any", auth(), "TRACE"),
    expect: denied(405, "err:sentinel:routing:method_not_allowed"),
    claim: ({ client }) => expect(client.received.toString("latin1")).not.toContain(KEYS.OK),
  },
  ...["", auth()].map((fields) => ({
    name: `016 CONNECT is 405, ${fields === "" ? "without" : "with"} a key`,
    send: `CONNECT upstream:80 HTTP/1.1\r\nHost: upstream:80\r\n${fields}\r\n${SMUGGLED}`,
    expect: refused(405, "err:sentinel:routing:method_not_allowed"),
  })),
  {
    name: "017 the body that an upstream sends to HEAD stops here",
    send: `${get("/any", auth(), "HEAD")}${get("/public/next")}`,
    methods: ["HEAD", "GET"],
    upstream: (request) => (request.method === "HEAD" ? `${answer(200, "surprise")}` : answerOk(request)),
    expect: served(2),
    claim: ({ answers }) => expect(answers[1]?.body.toString()).toContain("/public/next"),
  },
  ...[204, 304].map((status) => ({
    name: `018 the body that an upstream sends with ${status} stops here`,
    send: `${get("/any", auth())}${get("/public/next")}`,
    upstream: (request: Parameters<typeof answerOk>[0]) =>
      request.target === "/any"
        ? `HTTP/1.1 ${status} X\r\nX-Recorder: 1\r\nContent-Length: 8\r\n\r\nsurprise`
        : answerOk(request),
    expect: [status, 502].map((each) => ({ answers: [{ status: each }, { status: 200 }], closed: false, up: 2 })),
    claim: ({ answers }: AttackResult) => expect(answers[1]?.body.toString()).toContain("/public/next"),
  })),
  {
    name: "019 a 103 before a 200 ends in the 200",
    send: get("/any", auth()),
    upstream: (request) => `HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n${answerOk(request)}`,
    expect: served(),
  },
  {
    name: "019 nine interim answers are 502",
    send: get("/any", auth()),
    upstream: (request) => `${"HTTP/1.1 102 Processing\r\n\r\n".repeat(9)}${answerOk(request)}`,
    expect: { answers: [{ status: 502, code: BAD_GATEWAY }], closed: false, up: 1 },
  },
  {
    name: "020 Expect: 100-continue gets one 100, and the body arrives once",
    send: async (client) => {
      await client.write(
        `POST /any HTTP/1.1\r\nHost: gw\r\n${auth()}Expect: 100-continue\r\nContent-Length: 3\r\n\r\n`,
      );
      await client.until(() => client.received.includes("100 Continue"));
      await client.write("abc");
    },
    expect: served(),
    claim: (seen) => {
      expect(seen.answers[0]?.interim.map(({ status }) => status)).toEqual([100]);
      expect(seen.requests[0]?.body.toString()).toBe("abc");
      absent("expect")(seen);
    },
  },
  {
    name: "021 Expect: 100-continue does not skip the building of the upstream's headers",
    send: async (client) => {
      await client.write(
        `POST /any HTTP/1.1\r\nHost: gw\r\n${auth()}X-Unkey-Principal: {"keyId":"key_root"}\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n`,
      );
      await client.write("abc");
    },
    expect: served(),
    claim: (seen) => expect(sent(seen, "x-unkey-principal").join()).not.toContain("key_root"),
  },
  {
    name: "022 Expect: 100-continue without a key is 401 without a 100",
    send: "POST /any HTTP/1.1\r\nHost: gw\r\nExpect: 100-continue\r\nContent-Length: 1000\r\n\r\n",
    expect: refused(401, "err:unkey:authentication:missing"),
    claim: ({ answers }) => expect(answers[0]?.interim).toEqual([]),
  },
  {
    name: "022 Expect: 100-continue for a body that is said to be no JSON, where JSON is wanted, is 400 without a 100",
    send: `POST /v2/keys.createKey HTTP/1.1\r\nHost: gw\r\n${auth()}Content-Type: text/plain\r\nExpect: 100-continue\r\nContent-Length: 1000\r\n\r\n`,
    expect: refused(400, "err:user:bad_request:invalid_body"),
    claim: ({ answers }) => expect(answers[0]?.interim).toEqual([]),
  },
  {
    name: "023 a body sent along with a refused Expect is never read as a request",
    send: `POST /any HTTP/1.1\r\nHost: gw\r\nExpect: 100-continue\r\nContent-Length: ${SMUGGLED.length}\r\n\r\n${SMUGGLED}`,
    expect: refused(401, "err:unkey:authentication:missing"),
    claim: ({ client }) => expect(client.rest().length).toBe(0),
  },
  {
    name: "024 another expectation is 417",
    send: post("/any", "abc", `${auth()}Expect: 200-ok\r\n`),
    expect: denied(417, "err:user:bad_request:expectation_failed"),
  },
  {
    name: "024 two Expect fields are 400",
    send: post("/any", "abc", `${auth()}Expect: 100-continue\r\nExpect: 100-continue\r\n`),
    expect: refused(400, INVALID),
  },
  {
    name: "025 an HTTP/1.0 client gets no chunks and a closed connection",
    send: get("/any", auth(), "GET", "1.0"),
    upstream: () => "HTTP/1.1 200 OK\r\nX-Recorder: 1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    expect: servedAndClosed(),
    claim: ({ answers }) => {
      expect(answers[0]?.framing).not.toBe("chunked");
      expect(answers[0]?.body.toString()).toBe("abc");
    },
  },
  {
    name: "025 an HTTP/1.0 client that asks for keep-alive has it or a clean close",
    send: get("/any", `${auth()}Connection: keep-alive\r\n`, "GET", "1.0"),
    expect: [served(), servedAndClosed()],
  },
  {
    name: "026 the answer's fields keep order, repeats and bytes above 127",
    send: get("/any", auth()),
    upstream: () =>
      answer(200, "", [
        "X-b: 1",
        "Set-Cookie: a=1",
        "x-A: 2",
        "Set-Cookie: b=2",
        "WWW-Authenticate: Basic",
        "WWW-Authenticate: Digest",
        "X-Latin: caf\xe9 \xff",
      ]),
    expect: served(),
    claim: ({ answers }) => {
      const ours = new Set(["x-b", "set-cookie", "x-a", "www-authenticate", "x-latin"]);
      expect(answers[0]?.headers.filter(([name]) => ours.has(name.toLowerCase()))).toEqual([
        ["X-b", "1"],
        ["Set-Cookie", "a=1"],
        ["x-A", "2"],
        ["Set-Cookie", "b=2"],
        ["WWW-Authenticate", "Basic"],
        ["WWW-Authenticate", "Digest"],
        ["X-Latin", "caf\xe9 \xff"],
      ]);
    },
  },
  {
    name: "027 the request's fields keep case, order, repeats and bytes above 127",
    send: get("/any", `x-A: 1\r\n${auth()}X-b: 2\r\nx-a: 3\r\nCookie: a=1\r\nCookie: b=2\r\nX-Latin: caf\xe9 \xff\r\n`),
    expect: served(),
    claim: ({ requests }) => {
      const ours = new Set(["x-a", "x-b", "cookie", "x-latin", "authorization"]);
      expect(requests[0]?.headers.filter(([name]) => ours.has(name.toLowerCase()))).toEqual([
        ["x-A", "1"],
        ["Authorization", `Bearer ${KEYS.OK}`],
        ["X-b", "2"],
        ["x-a", "3"],
        ["Cookie", "a=1"],
        ["Cookie", "b=2"],
        ["X-Latin", "caf\xe9 \xff"],
      ]);
    },
  },
  {
    name: "028 a redirect goes to the client untouched",
    send: get("/any", auth()),
    upstream: () => answer(307, "", ["Location: http://user:pass@elsewhere.example/x"]),
    expect: served(1, 307),
    claim: ({ answers }) =>
      expect(fieldOf(answers[0] ?? { headers: [] }, "location")).toBe("http://user:pass@elsewhere.example/x"),
  },
  {
    name: "029 encoded bodies, ranges and validators pass untouched",
    send: get("/any", `${auth()}Range: bytes=0-3\r\nIf-None-Match: "a"\r\nAccept-Encoding: gzip, br\r\n`),
    upstream: () =>
      answer(206, "\x1f\x8b\x00\xff", ["Content-Encoding: gzip", "Content-Range: bytes 0-3/9", 'ETag: W/"b"']),
    expect: served(1, 206),
    claim: (seen) => {
      expect(sent(seen, "range")).toEqual(["bytes=0-3"]);
      expect(sent(seen, "if-none-match")).toEqual(['"a"']);
      expect(sent(seen, "accept-encoding")).toEqual(["gzip, br"]);
      const [got = { headers: [] }] = seen.answers;
      expect(fieldOf(got, "content-range")).toBe("bytes 0-3/9");
      expect(fieldOf(got, "etag")).toBe('W/"b"');
      expect(seen.answers[0]?.body.toString("latin1")).toBe("\x1f\x8b\x00\xff");
    },
  },
  {
    name: "030 a field that the upstream's Connection names is not passed on",
    send: get("/any", auth()),
    upstream: () =>
      answer(200, "", ["Connection: x-secret", "X-Secret: 1", "Keep-Alive: timeout=1", "Proxy-Authenticate: Basic"]),
    expect: served(),
    claim: ({ answers }) => {
      const names = answers[0]?.headers.map(([name]) => name.toLowerCase()) ?? [];
      expect(names).not.toContain("x-secret");
      expect(names).not.toContain("proxy-authenticate");
      expect(fieldOf(answers[0] ?? { headers: [] }, "connection") ?? "").not.toMatch(/x-secret/i);
      expect(fieldOf(answers[0] ?? { headers: [] }, "keep-alive")).not.toBe("timeout=1");
    },
  },
];
