import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { PLAIN_REQUEST_BYTES, readPlainRequest } from "../../src/inbound/plain-request.ts";
import { NodeParser } from "../support/node-parser.ts";

/** More of them: `PLAIN_CASES=1000000 PLAIN_SEED=7 npx vitest run test/inbound/plain-request.test.ts` */
const CASES = Number(process.env.PLAIN_CASES ?? 20_000);
const SEED = Number(process.env.PLAIN_SEED ?? 20_261_121);

const NODE = new NodeParser();
const NEXT = latin1("GET /next HTTP/1.1\r\nX-Next: 1\r\n\r\n");

/** Bodies of more bytes are not sent to their end here: Node's parser keeps them until they are read. */
const WHOLE_BODY_BYTES = 8 * 1024;

/**
 * Whether these bytes are plain; throws where Node's parser reads them in any other way, or reads more or less of them:
 * what is missing of a body comes after them, and then the next request, which Node has to read as just that.
 */
function isPlainAsNodeReads(bytes: Buffer): boolean {
  const plain = readPlainRequest(bytes);
  if (plain === null) return false;
  const { bodyBytes, headBytes, ...head } = plain;
  const begun = bytes.subarray(headBytes);
  if (bodyBytes > WHOLE_BODY_BYTES) return isBegunAsNodeReads(bytes, head, begun);
  const rest = Buffer.alloc(bodyBytes - begun.length, "G");
  const body = Buffer.concat([begun, rest]).toString("latin1");
  const whole = { event: "request", httpVersion: "1.1", complete: true, keepsAlive: true, body };
  const { requests, error } = NODE.read(bytes, ...(rest.length > 0 ? [rest] : []), NEXT);
  const [first, next, ...more] = requests;
  if (
    error !== null ||
    more.length > 0 ||
    !isAs(first, { ...whole, ...head }) ||
    !isAs(next, { ...whole, body: "", method: "GET", url: "/next", rawHeaders: ["X-Next", "1"] })
  ) {
    const read = JSON.stringify(bytes.toString("latin1"));
    throw new Error(`${read} is plain as ${JSON.stringify(plain)}, for Node ${JSON.stringify({ requests, error })}`);
  }
  return true;
}

function isBegunAsNodeReads(bytes: Buffer, head: object, begun: Buffer): boolean {
  const { requests, error } = NODE.read(bytes);
  const wanted = { ...head, event: "request", complete: false, body: begun.toString("latin1") };
  if (error !== null || requests.length !== 1 || !isAs(requests[0], wanted)) {
    throw new Error(`${JSON.stringify(bytes.toString("latin1"))} begins as ${JSON.stringify({ requests, error })}`);
  }
  return true;
}

function isAs(read: object | undefined, wanted: Readonly<Record<string, unknown>>): boolean {
  const members = read as Record<string, unknown> | undefined;
  if (members === undefined) return false;
  return Object.entries(wanted).every(([name, value]) => JSON.stringify(members[name]) === JSON.stringify(value));
}

function latin1(text: string): Buffer {
  return Buffer.from(text, "latin1");
}

/** `mostly` so often, out of sixteen, that a head of many such parts is plain often enough. */
function mostly<T>(usual: fc.Arbitrary<T>, odd: fc.Arbitrary<T>): fc.Arbitrary<T> {
  return fc.oneof({ weight: 30, arbitrary: usual }, { weight: 1, arbitrary: odd });
}

const TOKEN = [..."!#$%&'*+-.^_`|~019azAZ"];
const TARGET = [..."AZaz09-._~%!$&'()*+,;=:@/?"];
const VISIBLE = Array.from({ length: 0x5e }, (_, index) => String.fromCharCode(0x21 + index));
const ODD_BYTES = ["\0", "\x01", "\t", "\n", "\v", "\f", "\r", " ", "#", ":", '"', "<", "\\", "^", "{", "|", "\x7f"];
const ODD = fc.oneof(
  fc.constantFrom(...ODD_BYTES, "\x80", "\x85", "\xa0", "\xff", "\r\n", "\r\n ", "\r\n\t", "\n\r", "\r\n\r\n"),
  fc.integer({ min: 0, max: 255 }).map((code) => String.fromCharCode(code)),
);

const method = mostly(
  fc.constantFrom("GET", "GET", "HEAD", "DELETE", "POST", "POST", "PUT", "PATCH"),
  fc.constantFrom("get", "POS", "PATCHY", "OPTIONS", "TRACE", "CONNECT", "PRI", "GET\t", "GETT", "G", "", " GET"),
);
const target = mostly(
  fc.array(fc.constantFrom(...TARGET), { maxLength: 12 }).map((parts) => `/${parts.join("")}`),
  fc.oneof(
    fc.constantFrom("*", "", "x", "http://a/", "http://a", "//a", "/#", "/a#b", "?q", "/ ", "/a b", "/\\", "/[", "/|"),
    ODD.map((odd) => `/a${odd}b`),
    fc.constant(`/${"a".repeat(PLAIN_REQUEST_BYTES)}`),
  ),
);
const version = mostly(
  fc.constant("HTTP/1.1"),
  fc.constantFrom(
    ...["HTTP/1.0", "HTTP/1.10", "HTTP/01.1", "HTTP/1.1 ", " HTTP/1.1", "http/1.1", "Http/1.1", "HTTP/1.2", "HTTP/2.0"],
    ...["HTTP/0.9", "HTTP/1,1", "HTTP/1.", "HTTP/1", "HTTP", "", "ICE/1.0", "RTSP/1.0", "HTTP/1.1\t", "HTTP/1.1\0"],
  ),
);
const lineEnd = mostly(
  fc.constant("\r\n"),
  fc.constantFrom("\n", "\r", "\n\r", "\r\r\n", "", "\r\n ", "\r\n\t", " \r\n"),
);

const token = fc.array(fc.constantFrom(...TOKEN), { minLength: 1, maxLength: 20 }).map((parts) => parts.join(""));
const FRAMING = ["Content-Length", "Transfer-Encoding", "Connection", "Upgrade", "Expect", "TE", "Trailer", "Host"];
const name = mostly(
  fc.oneof(
    token,
    fc.constantFrom("Host", "Authorization", "Connection", "CONNECTION", "Accept", "Cookie", "Keep-Alive", "Via"),
    fc.constantFrom(
      "content_length",
      "content-lengt",
      "xcontent-length",
      "transfer.encoding",
      "expect-ct",
      "upgrade-x",
    ),
    fc.constantFrom("Content-Length", "content-length"),
    fc.constantFrom("__proto__", "constructor", "HTTP2-Settings", "Content-Type", "X-Unkey-Principal"),
  ),
  fc.oneof(
    fc.constantFrom(
      ...FRAMING,
      ...FRAMING.map((each) => each.toLowerCase()),
      "Proxy-Connection",
      "",
      " Host",
      "\tHost",
    ),
    fc.tuple(fc.constantFrom(...FRAMING), ODD).map(([each, odd]) => `${each}${odd}`),
    fc.tuple(token, ODD, token).map((parts) => parts.join("")),
    fc.constant("n".repeat(4000)),
  ),
);
const colon = mostly(
  fc.constantFrom(": ", ":"),
  fc.constantFrom(" : ", ":\t", ":  ", "", " ", "::", ":\r\n ", ":\0", "\t:"),
);
const value = mostly(
  fc.oneof(
    fc.array(fc.constantFrom(...VISIBLE), { minLength: 1, maxLength: 20 }).map((parts) => parts.join("")),
    fc.constantFrom("keep-alive", "Keep-Alive", "gw", "Bearer unkey_abc", "a b  c", "chunked", "close, x", "5"),
    fc.constantFrom("0", "1", "2", "17", "3000", "999999999999999"),
  ),
  fc.oneof(
    fc.constantFrom("", " ", "\t", "x ", "x\t", "close", "keep-alive, close", "upgrade", "chunked", "100-continue"),
    fc.constantFrom("00", "05", "+5", "-1", "5,5", "5, 5", "0x5", "1e1", "5 5", "1000000000000000", "9".repeat(30)),
    fc.tuple(fc.constantFrom("", "x"), ODD, fc.constantFrom("", "x")).map((parts) => parts.join("")),
    fc.constant("v".repeat(5000)),
  ),
);
const field = fc.tuple(name, colon, value, lineEnd).map((parts) => parts.join(""));
const fields = mostly(
  fc.array(field, { maxLength: 6 }).map((lines) => lines.join("")),
  fc.tuple(field, fc.integer({ min: 30, max: 700 })).map(([line, count]) => line.repeat(count)),
);
const before = mostly(fc.constant(""), fc.constantFrom("\r\n", "\n", "\r\n\r\n", " ", "\0", "\ufeff", NEXT.toString()));
const behind = mostly(
  fc.constantFrom("", "", "x", "{}", "GET / HTTP/1.1\r\n\r\n"),
  fc.oneof(fc.constantFrom("\r\n", "\n", "\r\n\r\n", " ", "x", "0\r\n\r\n", NEXT.toString(), "GET / HT"), ODD),
);
const head = fc
  .tuple(before, method, fc.constant(" "), target, fc.constant(" "), version, lineEnd, fields, lineEnd, behind)
  .map((parts) => parts.join(""));

/** One byte replaced, put in or taken out somewhere, as often as the number says. */
const flaws = fc.array(fc.tuple(fc.nat(), fc.constantFrom("replace", "insert", "remove"), ODD), { maxLength: 2 });
const damaged = fc.tuple(head, flaws).map(([text, changes]) => changes.reduce(change, text));

function change(text: string, [where, how, odd]: readonly [number, string, string]): string {
  const at = where % (text.length + 1);
  if (how === "insert") return text.slice(0, at) + odd + text.slice(at);
  return text.slice(0, at) + (how === "replace" ? odd : "") + text.slice(at + 1);
}

const FULL =
  "GET /v2/apis/a%20b?x=1&y=(2) HTTP/1.1\r\nHost: gw:80\r\nConnection: keep-alive\r\nAuthorization: Bearer unkey_a\r\n" +
  "X:y z\r\n\r\n";

describe("what is read as a plain request", () => {
  it(`is one whole request for Node's parser too, and the same (${CASES} heads of seed ${SEED})`, () => {
    let plain = 0;
    fc.assert(
      fc.property(head, (text) => {
        if (isPlainAsNodeReads(latin1(text))) plain += 1;
      }),
      { numRuns: CASES, seed: SEED },
    );
    // The claim is about plain requests: there have to be some.
    expect(plain).toBeGreaterThan(CASES / 8);
  }, 600_000);

  it(`is so with up to two bytes of it changed (${CASES} heads of seed ${SEED})`, () => {
    let plain = 0;
    fc.assert(
      fc.property(damaged, (text) => {
        if (isPlainAsNodeReads(latin1(text))) plain += 1;
      }),
      { numRuns: CASES, seed: SEED },
    );
    expect(plain).toBeGreaterThan(CASES / 40);
  }, 600_000);

  it.each([
    ["with fields", FULL],
    ["without any", "HEAD / HTTP/1.1\r\n\r\n"],
    [
      "with names like those that frame",
      "DELETE /a HTTP/1.1\r\nH:a\r\ncontent-lengtX: 7\r\nE-pect: x\r\nT-: x\r\n\r\n",
    ],
    ["with a body", "POST /a HTTP/1.1\r\nH:a\r\nContent-Length: 12\r\nT-: x\r\n\r\nGET / HTTP/1"],
    ["with a body to come", "PUT / HTTP/1.1\r\ncontent-length:4\r\nX: y\r\n\r\n"],
  ])(
    "is so whichever one byte of a request %s is replaced by, put in or taken out",
    (_, text) => {
      expect(isPlainAsNodeReads(latin1(text))).toBe(true);
      let plain = 0;
      for (let at = 0; at <= text.length; at++) {
        for (let code = 0; code < 256; code++) {
          const byte = String.fromCharCode(code);
          for (const how of ["replace", "insert"]) {
            if (isPlainAsNodeReads(latin1(change(text, [at, how, byte])))) plain += 1;
          }
        }
        if (isPlainAsNodeReads(latin1(change(text, [at, "remove", ""])))) plain += 1;
      }
      expect(plain).toBeGreaterThan(0);
    },
    120_000,
  );

  it("is no part of a request, and no request with anything behind it", () => {
    for (let end = 0; end < FULL.length; end++) expect(readPlainRequest(latin1(FULL.slice(0, end)))).toBeNull();
    for (let code = 0; code < 256; code++) {
      expect(readPlainRequest(latin1(FULL + String.fromCharCode(code)))).toBeNull();
    }
    expect(readPlainRequest(latin1(FULL + FULL))).toBeNull();
  });

  it("is no part of the head of a request with a body, and nothing with more behind it than that", () => {
    const headed = "POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\n";
    for (let end = 0; end < headed.length; end++) expect(readPlainRequest(latin1(headed.slice(0, end)))).toBeNull();
    for (const begun of ["", "a", "abcd", "\r\n\r\n", "abcde"]) {
      expect(readPlainRequest(latin1(headed + begun))).toMatchObject({ bodyBytes: 5, headBytes: headed.length });
    }
    for (const more of ["abcdef", "abcde\r\n", `abcde${NEXT}`])
      expect(readPlainRequest(latin1(headed + more))).toBeNull();
  });

  it("is the request alone, whatever else is in the memory that it was read into", () => {
    const memory = latin1(`${"\r\nX: y\r\n\r\n".repeat(3)}${FULL}${FULL}`);
    const from = memory.length - 2 * FULL.length;
    expect(readPlainRequest(memory.subarray(from, from + FULL.length))).toEqual(readPlainRequest(latin1(FULL)));
    for (let end = 0; end < FULL.length; end++) {
      expect(readPlainRequest(memory.subarray(from, from + end))).toBeNull();
    }
  });
});

describe("what clients send is plain", () => {
  const KEY = "Authorization: Bearer unkey_3ZPnKbQmWvRtYhJsDfGxCa";
  it.each([
    ["curl", ["GET /v1 HTTP/1.1", "Host: 127.0.0.1:8080", KEY, "User-Agent: curl/8.5.0", "Accept: */*"]],
    ["curl -I", ["HEAD /v1 HTTP/1.1", "Host: 127.0.0.1:8080", "User-Agent: curl/8.5.0", "Accept: */*"]],
    ["curl -X DELETE", ["DELETE /v1?a=1 HTTP/1.1", "Host: gw", KEY, "User-Agent: curl/8.5.0", "Accept: */*"]],
    [
      "fetch",
      [
        ...["GET /v1 HTTP/1.1", "host: 127.0.0.1:8080", "connection: keep-alive", KEY.toLowerCase(), "accept: */*"],
        ...["accept-language: *", "sec-fetch-mode: cors", "user-agent: node", "accept-encoding: gzip, deflate"],
      ],
    ],
    ["http.get", ["GET /v1 HTTP/1.1", KEY, "Host: 127.0.0.1:8080", "Connection: keep-alive"]],
    ["wrk", ["GET /v1 HTTP/1.1", "Host: 127.0.0.1:8080", KEY]],
    ["k6 and Go", ["GET /v1 HTTP/1.1", "Host: gw", "User-Agent: Go-http-client/1.1", KEY, "Accept-Encoding: gzip"]],
    ["http.client of Python", ["GET /v1 HTTP/1.1", "Host: 127.0.0.1:8080", "Accept-Encoding: identity", KEY]],
    [
      "requests of Python",
      [
        ...["GET /v1 HTTP/1.1", "Host: gw", "User-Agent: python-requests/2.31.0", "Accept-Encoding: gzip, deflate"],
        ...["Accept: */*", "Connection: keep-alive", KEY],
      ],
    ],
    [
      "a browser",
      [
        ...[
          "GET /v1?q=a+b HTTP/1.1",
          "Host: api.example.com",
          "Connection: keep-alive",
          "Upgrade-Insecure-Requests: 1",
        ],
        ...['sec-ch-ua: "Chromium";v="131", "Not_A Brand";v="24"', "User-Agent: Mozilla/5.0 (X11; Linux x86_64)"],
        ...["Accept: text/html,application/xml;q=0.9,*/*;q=0.8", "Cookie: a=b; c=d", "Priority: u=0, i"],
      ],
    ],
    ["a proxy in front", ["GET /v1 HTTP/1.1", "host: gw", "x-forwarded-for: 10.0.0.1, 10.0.0.2", "x-request-id: 1"]],
    ["ApacheBench when told HTTP/1.1", ["GET / HTTP/1.1", "Host: gw", "User-Agent: ApacheBench/2.3", "Accept: */*"]],
    ["telnet without a Host, for the gateway to refuse", ["GET / HTTP/1.1"]],
    ["two keys, for the gateway to refuse", ["GET / HTTP/1.1", "Host: gw", KEY, KEY]],
    ["two hosts, for the gateway to refuse", ["GET / HTTP/1.1", "Host: gw", "Host: other"]],
    ["a name that is almost Content-Length, for the gateway to refuse", ["GET / HTTP/1.1", "Content_Length: 5"]],
    ["curl -d", ["POST /v1 HTTP/1.1", "Host: gw", KEY, "Accept: */*", "Content-Length: 3", "", "a=b"]],
    ["curl -T", ["PUT /v1 HTTP/1.1", "Host: gw", KEY, "User-Agent: curl/8.5.0", "Content-Length: 70000", "", ""]],
    ["a POST of nothing", ["POST /v1 HTTP/1.1", "Host: gw", KEY, "Content-Length: 0", "", ""]],
    ["a POST without a word about a body", ["POST /v1 HTTP/1.1", "Host: gw", "", ""]],
    [
      "fetch with a body",
      [
        ...["PATCH /v1 HTTP/1.1", "host: gw", "connection: keep-alive", "content-type: application/json"],
        ...["accept: */*", "content-length: 2", "", "{}"],
      ],
    ],
    ["a field in no need of a blank", ["GET / HTTP/1.1", "Host:gw"]],
    ["an escape that is broken, for the gateway to refuse", ["GET /%zz/../a?%00 HTTP/1.1", "Host: gw"]],
  ])("%s", (_, lines) => {
    const text = lines.join("\r\n");
    expect(isPlainAsNodeReads(latin1(lines.includes("") ? text : `${text}\r\n\r\n`))).toBe(true);
  });

  it("up to so many bytes, and no more", () => {
    const least = "GET / HTTP/1.1\r\nX: \r\n\r\n".length;
    const padded = (bytes: number) => latin1(`GET / HTTP/1.1\r\nX: ${"x".repeat(bytes - least)}\r\n\r\n`);
    expect(isPlainAsNodeReads(padded(PLAIN_REQUEST_BYTES))).toBe(true);
    expect(readPlainRequest(padded(PLAIN_REQUEST_BYTES + 1))).toBeNull();
  });

  it("of as many fields as fit", () => {
    const most = Math.floor((PLAIN_REQUEST_BYTES - "GET / HTTP/1.1\r\n\r\n".length) / "a:b\r\n".length);
    expect(isPlainAsNodeReads(latin1(`GET / HTTP/1.1\r\n${"a:b\r\n".repeat(most)}\r\n`))).toBe(true);
  });
});

/** Every one with what is wrong or unusual about it: the lines of a head, or all of the bytes. */
const NOT_PLAIN: readonly (readonly [why: string, bytes: string])[] = [
  ["nothing", ""],
  ["an empty line", "\r\n"],
  ["an empty line in front", "\r\nGET / HTTP/1.1\r\nHost: gw\r\n\r\n"],
  ["a byte order mark in front", "\xef\xbb\xbfGET / HTTP/1.1\r\nHost: gw\r\n\r\n"],
  ["a body", "GET / HTTP/1.1\r\nHost: gw\r\nContent-Length: 1\r\n\r\nx"],
  ["another request behind it", "GET / HTTP/1.1\r\nHost: gw\r\n\r\nGET / HTTP/1.1\r\nHost: gw\r\n\r\n"],
  ["half a request behind it", "GET / HTTP/1.1\r\nHost: gw\r\n\r\nGET / HT"],
  ["an empty line behind it", "GET / HTTP/1.1\r\nHost: gw\r\n\r\n\r\n"],
  ["a TLS handshake", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n\r\n\r\n"],
  ["the preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"],
  ["a PROXY line in front", "PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\nGET / HTTP/1.1\r\nHost: gw\r\n\r\n"],
  ["no end of the head", "GET / HTTP/1.1\r\nHost: gw\r\n"],
  ["an empty line that ends in LF alone", "GET / HTTP/1.1\r\nHost: gw\r\n\n"],
  ["a request line that ends in LF alone", "GET / HTTP/1.1\nHost: gw\r\n\r\n"],
  ["a field that ends in LF alone", "GET / HTTP/1.1\r\nHost: gw\n\r\n"],
  ["a field that ends in CR alone", "GET / HTTP/1.1\r\nHost: gw\rX: y\r\n\r\n"],
  ["nothing but LF", "GET / HTTP/1.1\nHost: gw\n\n"],
  ["a DELETE with a body", "DELETE / HTTP/1.1\r\nHost: gw\r\nContent-Length: 1\r\n\r\nx"],
  ["a body and another request", `POST / HTTP/1.1\r\nHost: gw\r\nContent-Length: 1\r\n\r\nx${NEXT}`],
  ["another request behind no body", `POST / HTTP/1.1\r\nHost: gw\r\n\r\n${NEXT}`],
  ...Object.entries({
    "two lengths": "Content-Length: 1\r\nContent-Length: 1",
    "two lengths in one": "Content-Length: 1, 1",
    "a length with a sign": "Content-Length: +1",
    "a negative length": "Content-Length: -1",
    "a length with a zero in front": "Content-Length: 01",
    "a length of no digits": "Content-Length: x",
    "a length in hexadecimal": "Content-Length: 0x1",
    "a length with a fraction": "Content-Length: 1.0",
    "a length with a blank in it": "Content-Length: 1 1",
    "a length beyond what is exact": "Content-Length: 1000000000000000",
    "a length and a transfer coding": "Content-Length: 1\r\nTransfer-Encoding: chunked",
    "a transfer coding alone": "Transfer-Encoding: chunked",
    "a length and an Expect": "Content-Length: 1\r\nExpect: 100-continue",
    "a length and an Upgrade": "Content-Length: 1\r\nUpgrade: websocket",
    "a length and Connection: close": "Content-Length: 1\r\nConnection: close",
  }).map(([why, line]): [string, string] => [`a body with ${why}`, `POST / HTTP/1.1\r\nHost: gw\r\n${line}\r\n\r\n`]),
  ...["OPTIONS", "TRACE", "CONNECT", "QUERY", "PROPFIND", "get", "GETS", "GE"].map((each): [string, string] => [
    `the method ${each}`,
    `${each} / HTTP/1.1\r\nHost: gw\r\n\r\n`,
  ]),
  ["two spaces before the target", "GET  / HTTP/1.1\r\nHost: gw\r\n\r\n"],
  ["two spaces behind the target", "GET /  HTTP/1.1\r\nHost: gw\r\n\r\n"],
  ["a tab in place of a space", "GET\t/ HTTP/1.1\r\nHost: gw\r\n\r\n"],
  ...[
    "*",
    "a",
    "http://gw/",
    "",
    "?a",
    "/a#b",
    "/a b",
    '/"',
    "/<",
    "/\\",
    "/^",
    "/`",
    "/{",
    "/|",
    "/[",
    "/\x7f",
    "/\xe4",
  ].map((each): [string, string] => [`the target ${JSON.stringify(each)}`, `GET ${each} HTTP/1.1\r\nHost: gw\r\n\r\n`]),
  ...["HTTP/1.0", "HTTP/1.2", "HTTP/2.0", "HTTP/1.10", "HTTP/1.1 ", "http/1.1", "HTTP/01.1", ""].map(
    (each): [string, string] => [`the version ${JSON.stringify(each)}`, `GET / ${each}\r\nHost: gw\r\n\r\n`],
  ),
  ["no version", "GET /\r\nHost: gw\r\n\r\n"],
  ...Object.entries({
    "a length": "Content-Length: 5",
    "a length of nothing": "Content-Length: 0",
    "a length in other letters": "cOnTeNt-LeNgTh: 5",
    "a length without a blank": "Content-Length:5",
    "a length that is none": "Content-Length: +5",
    "a transfer coding": "Transfer-Encoding: chunked",
    "a transfer coding in other letters": "TRANSFER-ENCODING: CHUNKED",
    "a transfer coding that is none": "Transfer-Encoding: identity",
    TE: "TE: trailers",
    "a Trailer": "Trailer: X",
    "an Expect": "Expect: 100-continue",
    "an Upgrade": "Upgrade: websocket",
    "an Upgrade in other letters": "uPgRaDe: h2c",
    "Connection: close": "Connection: close",
    "Connection: upgrade": "Connection: upgrade",
    "a Connection in letters of its own": "Connection: KEEP-ALIVE",
    "a Connection that names more": "Connection: keep-alive, X-A",
    "a Connection that ends in a comma": "Connection: keep-alive,",
    "a Proxy-Connection": "Proxy-Connection: keep-alive",
    "a space before the colon": "X : y",
    "a tab before the colon": "X\t: y",
    "two blanks behind the colon": "X:  y",
    "a tab behind the colon": "X:\ty",
    "a blank behind the value": "X: y ",
    "a tab behind the value": "X: y\t",
    "a tab within the value": "X: a\tb",
    "an empty value": "X:",
    "a value of one blank": "X: ",
    "no name": ": y",
    "no colon": "X",
    "a name with a blank": "X Y: z",
    "a name in quotes": '"X": y',
    "a name with a NUL": "X\0: y",
    "a name beyond ASCII": "X\xe4: y",
    "a value beyond ASCII": "X: \xe4",
    "a NUL in the value": "X: a\0b",
    "a DEL in the value": "X: a\x7fb",
    "a CR in the value": "X: a\rb",
    "a line folded with a blank": "X: a\r\n b",
    "a line folded with a tab": "X: a\r\n\tb",
    "a first line folded": " X: a",
  }).map(([why, line]): [string, string] => [why, `GET / HTTP/1.1\r\nHost: gw\r\n${line}\r\n\r\n`]),
];

describe("what is left to Node's parser", () => {
  it.each(NOT_PLAIN)("%s", (_, bytes) => {
    expect(readPlainRequest(latin1(bytes))).toBeNull();
  });
});
