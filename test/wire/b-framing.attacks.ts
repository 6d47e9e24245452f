import { expect } from "vitest";
import { valuesOf } from "../support/http-parsers.ts";
import { answer, answerOk } from "../support/recording-upstream.ts";
import {
  type Attack,
  type AttackResult,
  auth,
  brokenOff,
  cutOff,
  failed,
  KEYS,
  type Outcome,
  refused,
  served,
  servedAndClosed,
} from "../support/rig.ts";
import { asChunks, chunked, get, post, SMUGGLED } from "./wire.ts";

const INVALID = "err:user:bad_request:invalid_request";
const TOO_LARGE = "err:user:bad_request:headers_too_large";
const BAD_GATEWAY = "err:sentinel:upstream:bad_gateway";

/** A request whose framing lines are given, with a body that is a request itself. */
function framed(lines: string, body: string, method = "POST", version = "1.1"): string {
  return `${method} /any HTTP/${version}\r\nHost: gw\r\n${auth()}${lines}\r\n${body}`;
}

const invalid = refused(400, INVALID);

/** Nothing whole arrived upstream. */
function nothingWhole({ requests }: AttackResult): void {
  expect(requests.filter((request) => request.complete)).toEqual([]);
}

/** The body arrived as a body, framed by us. */
function bodyIs(text: string): (seen: AttackResult) => void {
  return ({ requests }) => expect(requests.map((request) => request.body.toString("latin1"))).toEqual([text]);
}

const COMBINATIONS = ["GET", "POST"].flatMap((method) =>
  ["1.0", "1.1"].flatMap((version) =>
    ["Content-Length: 6\r\nTransfer-Encoding: chunked\r\n", "Transfer-Encoding: chunked\r\nContent-Length: 6\r\n"].map(
      (lines) => ({ method, version, lines }),
    ),
  ),
);

export const requestFraming: Attack[] = [
  ...COMBINATIONS.map(({ method, version, lines }) => ({
    name: `031 ${method} HTTP/${version} with ${lines.startsWith("C") ? "CL.TE" : "TE.CL"} is refused`,
    send: framed(lines, `0\r\n\r\n${SMUGGLED}`, method, version),
    expect: version === "1.0" ? [invalid, refused(505)] : invalid,
  })),
  ...[
    "3\r\nContent-Length: 3",
    "3\r\nContent-Length: 4",
    "3, 3",
    "+3",
    "0x3",
    "3_0",
    "-0",
    "-1",
    "",
    "12345678901234567890",
    "3 3",
    "3a",
    "3\x00",
  ].map((value) => ({
    name: `032 Content-Length ${JSON.stringify(value)} is refused`,
    send: framed(`Content-Length: ${value}\r\n`, `abc${SMUGGLED}`),
    expect: invalid,
  })),
  ...["003", "3 ", "3\t"].map((value) => ({
    name: `033 Content-Length ${JSON.stringify(value)} never goes on as it is`,
    send: framed(`Content-Length: ${value}\r\n`, "abc"),
    expect: [invalid, served()],
    claim: ({ requests }: AttackResult) => {
      for (const request of requests) {
        expect(valuesOf(request, "content-length").every((each) => each === "3")).toBe(true);
        expect(request.body.toString()).toBe("abc");
      }
    },
  })),
  ...[
    "xchunked",
    "\x0bchunked",
    "\x0cchunked",
    "chunked,",
    ",chunked",
    "chunked;a",
    '"chunked"',
    "gzip, chunked",
    "chunked, identity",
    "identity",
    "chunked, chunked",
    "chunked\r\nTransfer-Encoding: chunked",
    "chunked\r\nTransfer-Encoding: identity",
    "",
    "\x00chunked",
    "chunked\x00",
    "chunked\xa0",
    "\xa0chunked",
    "chun\tked",
    "gzip",
  ].map((value) => ({
    name: `034 Transfer-Encoding ${JSON.stringify(value)} is refused`,
    send: framed(`Transfer-Encoding: ${value}\r\n`, `0\r\n\r\n${SMUGGLED}`),
    expect: invalid,
  })),
  ...["\tchunked", "CHUNKED", "chunked \t"].map((value) => ({
    name: `034 Transfer-Encoding ${JSON.stringify(value)} is chunked, or refused`,
    send: framed(`Transfer-Encoding: ${value}\r\n`, asChunks(SMUGGLED)),
    expect: [invalid, served()],
    claim: ({ requests }: AttackResult) => {
      for (const request of requests) expect(request.body.toString()).toBe(SMUGGLED);
    },
  })),
  ...[
    "Transfer-Encoding : chunked",
    "Transfer-Encoding\t: chunked",
    "Content-Length : 6",
    "Content-Length\t: 6",
    "Transfer-Encoding:\r\n chunked",
    "Content-Length:\r\n 6",
    "X: a\r\n Transfer-Encoding: chunked",
    "X: a\r\n\tContent-Length: 6",
  ].map((lines) => ({
    name: `035 ${JSON.stringify(lines)} is refused`,
    send: framed(`${lines}\r\n`, `0\r\n\r\n${SMUGGLED}`),
    expect: invalid,
  })),
  ...[
    "Transfer_Encoding: chunked\r\nContent-Length: 3",
    "Content_Length: 0\r\nContent-Length: 3",
    "Transfer.Encoding: chunked\r\nContent-Length: 3",
    "Transfer~Encoding: chunked\r\nContent-Length: 3",
    "Content+Length: 0\r\nContent-Length: 3",
  ].map((lines) => ({
    name: `036 ${JSON.stringify(lines)} frames by the real field alone`,
    send: framed(`${lines}\r\n`, "abc"),
    expect: [invalid, served()],
    claim: ({ requests }: AttackResult) => {
      for (const request of requests) {
        const names = request.headers.map(([name]) => name.toLowerCase());
        expect(names.filter((name) => /^(transfer|content)[^a-z0-9-]/.test(name))).toEqual([]);
        expect(request.body.toString()).toBe("abc");
      }
    },
  })),
  {
    name: "037 chunked on HTTP/1.0 is refused",
    send: framed("Transfer-Encoding: chunked\r\n", `0\r\n\r\n${SMUGGLED}`, "POST", "1.0"),
    expect: invalid,
  },
  ...["HTTP/2.0", "HTTP/1.2", "HTTP/1.10", "HTTP/0.9", "http/1.1", "HTTP/3", "HTTQ/1.1", "HTTP/1.1x"].map(
    (version) => ({
      name: `038 version ${version} is refused`,
      send: `GET /any ${version}\r\nHost: gw\r\n${auth()}\r\n`,
      expect: [refused(505), refused(400)],
    }),
  ),
  {
    name: "038 a request line without a version is refused",
    send: `GET /any\r\nHost: gw\r\n${auth()}\r\n`,
    expect: [refused(400), refused(505)],
  },
  {
    name: "038 the HTTP/2 preface is refused",
    send: "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    expect: [refused(400), refused(505)],
  },
  ...[
    ["a bare LF after the request line", `GET /any HTTP/1.1\nHost: gw\r\n${auth()}\r\n`],
    ["a space after the version", `GET /any HTTP/1.1 \r\nHost: gw\r\n${auth()}\r\n`],
    ["a bare LF after a field", `GET /any HTTP/1.1\r\nHost: gw\nX: 1\r\n${auth()}\r\n`],
    ["bare LFs as the end of the head", `GET /any HTTP/1.1\r\nHost: gw\r\n${auth()}\n\n`],
    ["a bare LF in a value", `GET /any HTTP/1.1\r\nHost: gw\r\nX: a\nContent-Length: 81\r\n${auth()}\r\n${SMUGGLED}`],
    ["a bare CR in a value", `GET /any HTTP/1.1\r\nHost: gw\r\nX: a\rb\r\n${auth()}\r\n`],
    [
      "a bare CR that hides a field",
      `GET /any HTTP/1.1\r\nHost: gw\r\nX: a\rContent-Length: 81\r\n${auth()}\r\n${SMUGGLED}`,
    ],
    ["CR CR LF", `GET /any HTTP/1.1\r\nHost: gw\r\r\n${auth()}\r\n`],
    ["CR CR LF at the end of the head", `GET /any HTTP/1.1\r\nHost: gw\r\n${auth()}\r\r\n\r\n`],
    ["NUL in a value", `GET /any HTTP/1.1\r\nHost: gw\r\nX: a\x00b\r\n${auth()}\r\n`],
    ["DEL in a value", `GET /any HTTP/1.1\r\nHost: gw\r\nX: a\x7fb\r\n${auth()}\r\n`],
    ["0x01 in a value", `GET /any HTTP/1.1\r\nHost: gw\r\nX: a\x01b\r\n${auth()}\r\n`],
  ].map(([what, bytes]) => ({
    name: `039 ${what} is refused`,
    send: bytes as string,
    expect: invalid,
  })),
  { name: "040 two blank lines before a request do no harm", send: `\r\n\r\n${get("/any", auth())}`, expect: served() },
  {
    name: "040 ten thousand blank lines before a request do no harm",
    send: `${"\r\n".repeat(10_000)}${get("/any", auth())}`,
    expect: [refused(400), refused(431), cutOff(0), served()],
  },
  ...[
    ["a space before the first field", `GET /any HTTP/1.1\r\n Host: gw\r\n${auth()}\r\n`],
    ["a field without a colon", `GET /any HTTP/1.1\r\nHost: gw\r\nnocolon\r\n${auth()}\r\n`],
    ["an empty name", `GET /any HTTP/1.1\r\nHost: gw\r\n: x\r\n${auth()}\r\n`],
    ["a TAB in a name", `GET /any HTTP/1.1\r\nHost: gw\r\nX\tY: x\r\n${auth()}\r\n`],
    ["a NUL in a name", `GET /any HTTP/1.1\r\nHost: gw\r\nX\x00Y: x\r\n${auth()}\r\n`],
    ["a non-ASCII name", `GET /any HTTP/1.1\r\nHost: gw\r\nX\xe9: x\r\n${auth()}\r\n`],
    ["a parenthesis in a name", `GET /any HTTP/1.1\r\nHost: gw\r\nX(a): x\r\n${auth()}\r\n`],
    ["a space in a name", `GET /any HTTP/1.1\r\nHost: gw\r\nX Y: x\r\n${auth()}\r\n`],
    ["a TAB in the request line", `GET\t/any HTTP/1.1\r\nHost: gw\r\n${auth()}\r\n`],
    ["a trailing space in the request line", `GET /any HTTP/1.1 \r\nHost: gw\r\n${auth()}\r\n`],
  ].map(([what, bytes]) => ({
    name: `041 ${what} is refused`,
    send: bytes as string,
    expect: [invalid, refused(505)],
  })),
  {
    // RFC 9112 section 3 lets a server split at any white space; what goes on has one space.
    name: "041 two spaces in the request line are refused, or go on as one",
    send: `GET  /any HTTP/1.1\r\nHost: gw\r\n${auth()}\r\n`,
    expect: [invalid, served()],
  },
  ...["DELETE", "OPTIONS", "GET", "HEAD"].map((method) => ({
    name: `042 the chunked body of ${method} stays its body`,
    send: chunked("/any", asChunks(SMUGGLED), auth(), method),
    methods: [method],
    expect: [served(), invalid],
    claim: (seen: AttackResult) => {
      if (seen.requests.length > 0) bodyIs(SMUGGLED)(seen);
    },
  })),
  ...[98, 99, 100, 101, 500, 999, 1000, 1001, 1100, 2000, 3500].flatMap((lines) =>
    ["Content-Length", "Transfer-Encoding", "Authorization"].map((last) => {
      const bodies = { "Content-Length": SMUGGLED, "Transfer-Encoding": asChunks(SMUGGLED), Authorization: "" };
      const values = {
        "Content-Length": String(SMUGGLED.length),
        "Transfer-Encoding": "chunked",
        Authorization: `Bearer ${KEYS.OK}`,
      };
      const name = last as keyof typeof bodies;
      const first = name === "Authorization" ? "" : auth();
      const filler = "a: 1\r\n".repeat(lines - (name === "Authorization" ? 2 : 3));
      const outcome: Outcome = lines <= 100 ? served() : refused(431, TOO_LARGE);
      return {
        name: `043 ${last} as field ${lines} is ${lines <= 100 ? "seen" : "431"}`,
        send: `GET /any HTTP/1.1\r\nHost: gw\r\n${first}${filler}${name}: ${values[name]}\r\n\r\n${bodies[name]}`,
        expect: outcome,
        claim: (seen: AttackResult) => {
          if (lines <= 100) bodyIs(name === "Authorization" ? "" : SMUGGLED)(seen);
        },
      };
    }),
  ),
];

export const chunkedBodies: Attack[] = [
  ...["0x3", "+3", "3 ", " 3", "3_0", "12345678901234567", "", "-3", "g", "3\t", "\n3"].map((size) => ({
    name: `044 chunk size ${JSON.stringify(size)} breaks the request off`,
    send: chunked("/any", `${size}\r\nabc\r\n0\r\n\r\n`, auth()),
    expect: brokenOff(),
    claim: nothingWhole,
  })),
  {
    name: "044 a chunk size with many leading zeros is its value, or breaks the request off",
    send: chunked("/any", `${"0".repeat(40)}3\r\nabc\r\n0\r\n\r\n`, auth()),
    expect: [served(), ...brokenOff()],
    claim: (seen) => {
      if (seen.requests.some((each) => each.complete)) bodyIs("abc")(seen);
    },
  },
  ...[
    [";a=b", true],
    [';a="b"', true],
    [`;a=${"x".repeat(4096)}`, true],
    [`;a=${"x".repeat(20_000)}`, false],
    [";a=\n", false],
    [";a\x00b", false],
    [';a="\r\n"', false],
    [";", false],
  ].map(([extension, fine]) => ({
    name: `045 chunk extension ${JSON.stringify(String(extension).slice(0, 20))} of ${String(extension).length} never leaves`,
    send: chunked("/any", `3${extension}\r\nabc\r\n0\r\n\r\n`, auth()),
    expect: fine ? [served(), ...brokenOff()] : [...brokenOff(413, 431), served()],
    claim: ({ rig, requests }: AttackResult) => {
      for (const request of requests.filter((each) => each.complete)) expect(request.body.toString()).toBe("abc");
      const wire = Buffer.concat(rig.upstream.connections.map((connection) => connection.bytes())).toString("latin1");
      expect(wire).not.toContain(String(extension).slice(0, 12).concat("\r\n"));
    },
  })),
  ...[
    ["no CRLF after chunk data", "3\r\nabc0\r\n\r\n"],
    ["LF after chunk data", "3\r\nabc\n0\r\n\r\n"],
    ["LF after the size", "3\nabc\r\n0\r\n\r\n"],
    ["data longer than its size", "3\r\nabcdef\r\n0\r\n\r\n"],
    ["a bare CR after the size", "3\rabc\r\n0\r\n\r\n"],
    ["LF in the trailer section", "3\r\nabc\r\n0\r\nX: 1\n\r\n"],
  ].map(([what, bytes]) => ({
    name: `046 ${what} breaks the request off`,
    send: chunked("/any", bytes as string, auth()),
    expect: brokenOff(),
    claim: nothingWhole,
  })),
  {
    name: "046 the end of the connection in a chunk is not the end of the body",
    send: async (client) => {
      await client.write(chunked("/any", "10\r\nabc", auth()));
      client.halfClose();
    },
    expect: brokenOff(),
    claim: nothingWhole,
  },
  {
    name: "047 a body that ends short is not taken for whole, nor sent again",
    send: async (client) => {
      await client.write(`POST /any HTTP/1.1\r\nHost: gw\r\n${auth()}Content-Length: 100\r\n\r\nabc`);
      client.halfClose();
    },
    expect: brokenOff(),
    claim: nothingWhole,
  },
  {
    name: "048 what follows the body is a request of its own",
    send: `${post("/any", "abc", auth())}${SMUGGLED}`,
    expect: [false, true].map((closed) => ({ answers: [{ status: 200 }, { status: 401 }], closed, up: 1 })),
  },
  {
    name: "049 an allowed request does not carry the next one through",
    send: `${get("/any/1", auth())}${get("/any/2")}`,
    expect: [false, true].map((closed) => ({
      answers: [{ status: 200 }, { status: 401, code: "err:unkey:authentication:missing" }],
      closed,
      up: 1,
    })),
  },
  {
    name: "049 answers come in order, however slow the first is",
    send: `${get("/any/slow", auth())}${get("/any/quick", auth())}${get("/nowhere")}`,
    upstream: async (request, connection) => {
      if (request.target === "/any/slow") await new Promise((done) => setTimeout(done, 100));
      void connection;
      return answerOk(request);
    },
    expect: [false, true].map((closed) => ({
      answers: [{ status: 200 }, { status: 200 }, { status: 404 }],
      closed,
      up: 2,
    })),
    claim: ({ answers }) => {
      expect(answers[0]?.body.toString()).toContain("/any/slow");
      expect(answers[1]?.body.toString()).toContain("/any/quick");
    },
  },
  {
    name: "050 the body of a refused request is never read as a request",
    send: `${post("/any", get("/any/inner", auth()))}${get("/any/after", auth())}`,
    expect: [refused(401), { answers: [{ status: 401 }, { status: 200 }], closed: false, up: 1 }],
    claim: ({ requests }) => expect(requests.map((request) => request.target)).not.toContain("/any/inner"),
  },
  ...["GET", "HEAD", "DELETE", "OPTIONS"].map((method) => ({
    name: `051 the body of ${method} goes on with its length said, or is refused`,
    send: post("/any", SMUGGLED, auth(), method),
    methods: [method],
    expect: [served(), invalid],
    claim: (seen: AttackResult) => {
      if (seen.requests.length > 0) bodyIs(SMUGGLED)(seen);
    },
  })),
  {
    name: "052 a Content-Length that only some can read is refused",
    send: framed(`Content-Length\x0b: ${SMUGGLED.length}\r\n`, SMUGGLED, "GET"),
    expect: invalid,
  },
  {
    name: "052 a Content_Length frames nothing here, and is not sent on",
    send: framed(`Content_Length: ${SMUGGLED.length}\r\n`, SMUGGLED, "GET"),
    expect: [
      invalid,
      { answers: [{ status: 200 }, { status: 401 }], closed: true, up: 1 },
      { answers: [{ status: 200 }, { status: 401 }], closed: false, up: 1 },
    ],
    claim: ({ requests }) =>
      expect(requests.flatMap((each) => each.headers.map(([name]) => name.toLowerCase()))).not.toContain(
        "content_length",
      ),
  },
  {
    name: "053 an answer that comes before the upload's end is passed on, and its connections are not used again",
    send: async (client) => {
      await client.write(`POST /any HTTP/1.1\r\nHost: gw\r\n${auth()}Content-Length: 100000\r\n\r\nabc`);
      await client.until(() => client.received.includes("early") || client.ended !== null);
      await client.write(SMUGGLED.repeat(20));
    },
    upstreamHead: (head, connection) => {
      if (head.target !== "/any") return false;
      connection.send(answer(403, "early"));
      return true;
    },
    expect: [servedAndClosed(1, 403), served(1, 403)],
    claim: async ({ rig }) => {
      const mine = rig.upstream.connections.filter((each) => each.bytes().includes("Content-Length: 100000\r\n"));
      expect(mine).toHaveLength(1);
      await rig.upstream.until(() => mine.every(({ closed }) => closed));
    },
  },
  {
    name: "054 a client that stalls in its body does not hold the upstream",
    send: `POST /quick HTTP/1.1\r\nHost: gw\r\n${auth()}Content-Length: 100\r\n\r\nabc`,
    expect: [408, 504].map((status) => ({ answers: [{ status }], closed: true, up: 1 })),
    claim: nothingWhole,
  },
];

/** Bytes that an upstream answers with, none of which is clean HTTP. */
const HOSTILE_ANSWERS: readonly (readonly [what: string, bytes: string])[] = [
  [
    "055 an answer with CL and TE",
    "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
  ],
  ["055 an answer with two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd"],
  ["055 an answer with a length that is none", "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\nabc"],
  ["055 an answer with a negative length", "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nabc"],
  ["055 an answer with an unknown coding", "HTTP/1.1 200 OK\r\nTransfer-Encoding: foo\r\n\r\nabc"],
  ["055 an answer with chunked twice", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"],
  ["055 an answer with gzip, chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"],
  [
    "055 an answer with two codings",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
  ],
  ["055 an answer with a folded field", "HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 0\r\n\r\n"],
  ["055 an answer with a bare LF", "HTTP/1.1 200 OK\nContent-Length: 0\n\n"],
  ["055 an answer with a bare LF within the head", "HTTP/1.1 200 OK\r\nX: a\nY: b\r\nContent-Length: 0\r\n\r\n"],
  ["055 an answer with NUL in a value", "HTTP/1.1 200 OK\r\nX: a\x00b\r\nContent-Length: 0\r\n\r\n"],
  ["192 an answer with 0x01 in the reason", "HTTP/1.1 200 O\x01K\r\nContent-Length: 0\r\n\r\n"],
  ["192 an answer with an empty name", "HTTP/1.1 200 OK\r\n: x\r\nContent-Length: 0\r\n\r\n"],
  ["055 an answer with a space before the colon", "HTTP/1.1 200 OK\r\nContent-Length : 0\r\n\r\n"],
  ["192 an answer with status 099", "HTTP/1.1 099 Odd\r\nContent-Length: 0\r\n\r\n"],
  ["192 an answer with status 1000", "HTTP/1.1 1000 Odd\r\nContent-Length: 0\r\n\r\n"],
  ["192 an answer with status 600", "HTTP/1.1 600 Odd\r\nContent-Length: 0\r\n\r\n"],
  [
    "192 an answer with a 101 nobody asked for",
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
  ],
  ["055 an answer with another version", "HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n"],
  ["060 an answer with a TLS hello", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"],
  ["060 an answer with an SMTP banner", "220 mail.example.com ESMTP\r\n"],
  ["060 an answer with garbage", "\xff\xfe\xfd\x00\x01garbage\r\n\r\n"],
  ["059 an answer with a megabyte of header", `HTTP/1.1 200 OK\r\nX: ${"a".repeat(1_000_000)}\r\n\r\n`],
  ["059 an answer with five thousand fields", `HTTP/1.1 200 OK\r\n${"X: 1\r\n".repeat(5000)}Content-Length: 0\r\n\r\n`],
];

export const hostileAnswers: Attack[] = [
  ...HOSTILE_ANSWERS.flatMap(([what, bytes]) =>
    ["GET", "POST", "HEAD", "DELETE"].map((method) => ({
      name: `${what} to ${method} is 502`,
      send: method === "POST" ? post("/any", "abc", auth()) : get("/any", auth(), method),
      methods: [method],
      upstream: () => bytes,
      mayRepeat: true,
      expect: failed(502, BAD_GATEWAY),
    })),
  ),
  {
    name: "192 a Trailer field without chunks does no harm",
    send: get("/any", auth()),
    upstream: () => "HTTP/1.1 200 OK\r\nX-Recorder: 1\r\nTrailer: X\r\nContent-Length: 0\r\n\r\n",
    expect: [served(), ...failed(502, BAD_GATEWAY)],
  },
  ...[0, 1, 20, 250].map((delayMs) => ({
    name: `056 a second answer ${delayMs === 0 ? "in the same segment" : `after ${delayMs} ms`} reaches nobody`,
    send: async (client: Parameters<Exclude<Attack["send"], string>>[0]) => {
      const before = client.received.length;
      await client.write(get("/any/first", auth()));
      await client.until(() => client.received.length > before);
      await new Promise((done) => setTimeout(done, delayMs));
      await client.write(get("/any/second", auth()));
    },
    upstream: (request: Parameters<typeof answerOk>[0], connection: { send(bytes: string): void }) => {
      if (request.target !== "/any/first") return answerOk(request);
      const poison = answer(200, "POISON");
      if (delayMs === 0) return `${answerOk(request)}${poison}`;
      setTimeout(() => connection.send(poison), delayMs);
      return answerOk(request);
    },
    mayRepeat: true,
    expect: served(2),
    claim: async ({ answers: got, rig }: AttackResult) => {
      expect(got.map((each) => each.body.toString())).not.toContain("POISON");
      const later = await rig.connect();
      await later.write(get("/public/later"));
      expect((await later.answer())?.body.toString()).toContain("/public/later");
      later.destroy();
    },
  })),
  ...[
    ["with a length", "HTTP/1.1 200 OK\r\nX-Recorder: 1\r\nContent-Length: 100\r\n\r\npartial"],
    ["in chunks", "HTTP/1.1 200 OK\r\nX-Recorder: 1\r\nTransfer-Encoding: chunked\r\n\r\n7\r\npartial\r\n"],
    ["within a chunk", "HTTP/1.1 200 OK\r\nX-Recorder: 1\r\nTransfer-Encoding: chunked\r\n\r\n70\r\npartial"],
  ].flatMap(([what, bytes]) =>
    [true, false].map((reset) => ({
      name: `057 an answer ${what} that ends short (${reset ? "RST" : "FIN"}) never looks whole`,
      send: get("/any", auth()),
      upstream: async (
        _: unknown,
        connection: { send(bytes: string): void; resetNow(): void; socket: { end(): void } },
      ) => {
        connection.send(bytes as string);
        await new Promise((done) => setTimeout(done, 30));
        if (reset) connection.resetNow();
        else connection.socket.end();
        return null;
      },
      expect: [cutOff(), ...failed(502, BAD_GATEWAY)],
    })),
  ),
  {
    name: "057 a chunk that is not one breaks the answer off",
    send: get("/any", auth()),
    upstream: () => "HTTP/1.1 200 OK\r\nX-Recorder: 1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nZZ\r\n",
    expect: [cutOff(), ...failed(502, BAD_GATEWAY)],
  },
  ...["GET", "POST"].map((method) => ({
    name: `058 a reset before the answer to ${method} is 502`,
    send: method === "POST" ? post("/any", "abc", auth()) : get("/any", auth()),
    upstream: (_: unknown, connection: { resetNow(): void }) => {
      connection.resetNow();
      return null;
    },
    mayRepeat: true,
    expect:
      method === "POST"
        ? failed(502, BAD_GATEWAY)
        : [1, 2].flatMap((up) => failed(502, BAD_GATEWAY).map((each) => ({ ...each, up }))),
  })),
  ...[
    ["garbage", "\x00\x01\x02\x03garbage\r\n\r\n"],
    ["a TLS hello", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"],
    ["SMTP", "EHLO example.com\r\n\r\n"],
    ["a SOCKS hello", "\x05\x01\x00"],
    ["an HTTP answer", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"],
  ].map(([what, bytes]) => ({
    name: `060 ${what} as a request is refused`,
    send: bytes as string,
    expect: [invalid, refused(505)],
  })),
];
