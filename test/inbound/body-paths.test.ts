import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { readPlainRequest } from "../../src/inbound/plain-request.ts";
import { NodeParser } from "../support/node-parser.ts";
import { answerOk } from "../support/recording-upstream.ts";
import { auth, rigRoutes } from "../support/rig.ts";
import { asChunks, chunked, get, post } from "../wire/wire.ts";
import {
  BothWays,
  bytesOf,
  eachPlace,
  expectAlike,
  headOf,
  refused,
  type Situation,
  served,
  servedAndClosed,
  unplain,
  withLength,
} from "./both-ways.ts";

/**
 * A request with a body is answered, sent on and recorded alike, whether the gateway reads it itself or has Node's server
 * read it. Here: how the body is framed and cut, and what comes behind it.
 */
describe("a request with a body, on both ways", () => {
  let ways: BothWays;
  beforeAll(async () => {
    ways = await BothWays.start({ limits: { maxPipelined: 2 }, routes: rigRoutes() });
  });
  afterAll(() => ways?.stop());

  const sizes = [0, 1, 2, 100, 1024, 65_535, 65_536, 65_537, 1024 * 1024];
  const cut = Object.fromEntries(
    sizes.flatMap((size): [string, Situation][] => {
      const body = bytesOf(size);
      const head = headOf("/any/x", size);
      const whole = served(head + body);
      const some = Math.ceil(size / 2);
      return [
        [`${size} bytes with the head`, whole],
        [`${size} bytes behind the head`, { ...whole, send: [head, body] }],
        [
          `${size} bytes, half of them behind the head`,
          { ...whole, send: [head + body.slice(0, some), body.slice(some)] },
        ],
      ];
    }),
  );

  const tabbed = withLength("Content-Length: \t5\t\r\n", "hello");
  const takesTabs = new NodeParser().read(Buffer.from(tabbed, "latin1")).error === null;
  const spellings: Readonly<Record<string, Situation>> = {
    "leading zeros": served(withLength("Content-Length: 0005\r\n", "hello")),
    "zeros alone": served(withLength("Content-Length: 00\r\n", "")),
    "fifteen digits": refused(413, withLength(`Content-Length: ${"9".repeat(15)}\r\n`, "hello")),
    "sixteen digits": refused(413, withLength(`Content-Length: ${10 ** 15}\r\n`, "hello")),
    "no blank": served(withLength("Content-Length:5\r\n", "hello")),
    "blanks around it": served(withLength("Content-Length:   5  \r\n", "hello")),
    // RFC 9110 section 5.6.3 allows them; Node's parser does since Node 24.
    "tabs around it": takesTabs ? served(tabbed) : refused(400, tabbed),
    "a name in small letters": served(withLength("content-length: 5\r\n", "hello")),
    "a plus sign": refused(400, withLength("Content-Length: +5\r\n", "hello")),
    "a minus sign": refused(400, withLength("Content-Length: -5\r\n", "hello")),
    "a blank inside": refused(400, withLength("Content-Length: 1 0\r\n", "hellohello")),
    "a list": refused(400, withLength("Content-Length: 5, 5\r\n", "hello")),
    "a list without blanks": refused(400, withLength("Content-Length: 5,5\r\n", "hello")),
    "two fields": refused(400, withLength("Content-Length: 5\r\n".repeat(2), "hello")),
    "two fields that differ": refused(400, withLength("Content-Length: 5\r\nContent-Length: 4\r\n", "hello")),
    nothing: refused(400, withLength("Content-Length: \r\n", "hello")),
    "nothing, and no body": refused(400, withLength("Content-Length:\r\n", "")),
    "hexadecimal digits": refused(400, withLength("Content-Length: 0x5\r\n", "hello")),
    "a fraction": refused(400, withLength("Content-Length: 5.0\r\n", "hello")),
    "an exponent": refused(400, withLength("Content-Length: 5e0\r\n", "hello")),
    quotes: refused(400, withLength('Content-Length: "5"\r\n', "hello")),
    "a word": refused(400, withLength("Content-Length: five\r\n", "hello")),
    "a byte above 127": refused(400, withLength("Content-Length: 5\xb2\r\n", "hello")),
    "a NUL": refused(400, withLength("Content-Length: 5\0\r\n", "hello")),
    "2^53 - 1": refused(413, withLength(`Content-Length: ${2n ** 53n - 1n}\r\n`, "hello")),
    "2^53": refused(400, withLength(`Content-Length: ${2n ** 53n}\r\n`, "hello")),
    "2^63": refused(400, withLength(`Content-Length: ${2n ** 63n}\r\n`, "hello")),
    "2^64": refused(400, withLength(`Content-Length: ${2n ** 64n}\r\n`, "hello")),
    "2^64 + 5": refused(400, withLength(`Content-Length: ${2n ** 64n + 5n}\r\n`, "hello")),
    "a line folded": refused(400, withLength("Content-Length:\r\n 5\r\n", "hello")),
    "a blank before the colon": refused(400, withLength("Content-Length : 5\r\n", "hello")),
    "a name that some take for it": refused(400, withLength("Content_Length: 5\r\n", "hello")),
    "a bare LF": refused(400, withLength("Content-Length: 5\n", "hello")),
    "a coding beside it": refused(
      400,
      withLength("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", asChunks("hello")),
    ),
    "a coding before it": refused(400, withLength("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", "hello")),
    "a coding that is none": refused(400, withLength("Content-Length: 5\r\nTransfer-Encoding: identity\r\n", "hello")),
  };

  const five = "Content-Length: 5\r\n";
  const kinds: Readonly<Record<string, Situation>> = {
    ...Object.fromEntries(
      ["PUT", "PATCH", "DELETE", "GET", "OPTIONS", "QUERY", "PROPFIND"].map((method): [string, Situation] => [
        method,
        served(post("/any/x", "hello", auth(), method)),
      ]),
    ),
    ...Object.fromEntries(
      ["POST", "PUT", "PATCH"].flatMap((method): [string, Situation][] => [
        [`${method} that says nothing of a body`, served(get("/any/x", auth(), method))],
        [
          `${method} that says nothing of one, and a GET`,
          served(get("/any/x", auth(), method) + get("/any/y", auth()), 2),
        ],
        [
          `${method} that says nothing of one, and a GET later`,
          served([get("/any/x", auth(), method), get("/any/y", auth())], 2),
        ],
        [
          `${method} that says nothing of one, and bytes`,
          refused(400, `${get("/any/x", auth(), method)}hello\r\n\r\n`, 1),
        ],
        [
          `${method} that says nothing of one, without a key`,
          { send: get("/any/x", "", method), answers: [401], ends: "kept" },
        ],
        [
          `${method} of no bytes whose body would be read`,
          {
            send: post("/v2/keys.createKey", "", auth(), method),
            answers: [method === "POST" ? 400 : 405],
            ends: "kept",
          },
        ],
      ]),
    ),
    HEAD: { ...served(post("/any/x", "hello", auth(), "HEAD")), methods: ["HEAD"] },
    "HEAD without a key": { ...refused(401, post("/any/x", "hello", "", "HEAD")), methods: ["HEAD"] },
    "DELETE of no bytes": served(post("/any/x", "", auth(), "DELETE")),
    "GET of no bytes": served(post("/any/x", "", auth(), "GET")),
    "a method in small letters": refused(400, post("/any/x", "hello", auth(), "post")),
    "a method nobody knows": refused(400, post("/any/x", "hello", auth(), "FOO")),
    TRACE: refused(405, post("/any/x", "hello", auth(), "TRACE")),
    CONNECT: refused(405, post("/any/x", "hello", auth(), "CONNECT")),
    "OPTIONS *": refused(204, post("*", "hello", "", "OPTIONS")),
    "OPTIONS with no hop left": refused(204, post("/any/x", "hello", `${auth()}Max-Forwards: 0\r\n`, "OPTIONS")),
    "Connection: close": servedAndClosed(post("/any/x", "hello", `${auth()}Connection: close\r\n`)),
    "Connection: close, the body behind the head": servedAndClosed([
      headOf("/any/x", 5, `${auth()}Connection: close\r\n`),
      "hello",
    ]),
    "Connection: close, and another behind it": servedAndClosed(
      post("/any/x", "hello", `${auth()}Connection: close\r\n`) + get("/any/never", auth()),
    ),
    "Connection: keep-alive": served(post("/any/x", "hello", `${auth()}Connection: keep-alive\r\n`)),
    "a Connection that names the length": refused(
      400,
      post("/any/x", "hello", `${auth()}Connection: Content-Length\r\n`),
    ),
    "HTTP/1.0": servedAndClosed(`POST /any/x HTTP/1.0\r\nHost: gw\r\n${auth()}${five}\r\nhello`),
    "HTTP/1.0 that keeps alive": served(
      `POST /any/x HTTP/1.0\r\nHost: gw\r\n${auth()}${five}Connection: keep-alive\r\n\r\nhello`,
    ),
    "HTTP/1.0 without Host": servedAndClosed(`POST /any/x HTTP/1.0\r\n${auth()}${five}\r\nhello`),
    "HTTP/1.1 without Host": refused(400, `POST /any/x HTTP/1.1\r\n${auth()}${five}\r\nhello`),
    "HTTP/1.2": refused(505, `POST /any/x HTTP/1.2\r\nHost: gw\r\n${five}\r\nhello`),
    "Expect: 100-continue": served(post("/any/x", "hello", `${auth()}Expect: 100-continue\r\n`)),
    "another Expect": refused(417, post("/any/x", "hello", `${auth()}Expect: 200\r\n`)),
    "a wish for another protocol": served(post("/any/x", "hello", `${auth()}Connection: Upgrade\r\nUpgrade: h2c\r\n`)),
    "Trailer and TE": served(post("/any/x", "hello", `${auth()}Trailer: X-End\r\nTE: trailers\r\n`)),
    "a type and a coding of content": served(
      post("/any/x", "\x1f\x8b\0\xff\n", `${auth()}Content-Type: text/plain; a="b"\r\nContent-Encoding: gzip\r\n`),
    ),
    "a target of 2 KiB": served(post(`/any/${"x".repeat(2048)}`, "hello", auth())),
    "a head of 10 KiB": served(post("/any/x", "hello", `${auth()}X: ${"x".repeat(10 * 1024)}\r\n`)),
    "a head that is too large": refused(431, post("/any/x", "hello", `${auth()}X: ${"x".repeat(20 * 1024)}\r\n`)),
    "too many fields": refused(431, post("/any/x", "hello", "X: y\r\n".repeat(101))),
  };

  const [a, b, c] = [
    post("/any/a", "abc", auth()),
    post("/any/b", get("/admin/smuggled", auth()), auth()),
    get("/any/c", auth()),
  ];
  const followed: Readonly<Record<string, Situation>> = {
    "a GET in the same packet": served(a + c, 2),
    "a GET in the next packet": served([a, c], 2),
    "half a GET in the same packet": served([a + c.slice(0, 20), c.slice(20)], 2),
    "a GET in the packet of the body": served([a.slice(0, -3), `abc${c}`], 2),
    "a GET in the packet of the body's end": served([a.slice(0, -1), `c${c}`], 2),
    "a POST in the same packet": served(a + b, 2),
    "a POST in the next packet": served([a, b], 2),
    "half the head of a POST in the same packet": served([a + b.slice(0, 20), b.slice(20)], 2),
    "half the body of a POST in the same packet": served([a + b.slice(0, -20), b.slice(-20)], 2),
    "the head of a POST in the same packet": served(
      [a + b.slice(0, b.indexOf("\r\n\r\n") + 4), b.slice(b.indexOf("\r\n\r\n") + 4)],
      2,
    ),
    "a POST of no bytes": served(a + post("/any/b", "", auth()), 2),
    "a POST in chunks": served(a + chunked("/any/b", asChunks("hello"), auth()), 2),
    "a POST of 200 KiB in the same packet": served(a + post("/any/b", bytesOf(200 * 1024), auth()), 2),
    "a GET, and POSTs behind that": served(a + c + b + a, 4),
    "six POSTs, which is more than may wait": served((a + b).repeat(3), 6),
    "twelve GETs": served(a + c.repeat(12), 13),
    "a HEAD and a POST": { ...served(a + get("/any/c", auth(), "HEAD") + b, 3), methods: ["POST", "HEAD", "POST"] },
    "a POST without a key, and a GET": refused(401, a + post("/any/b", "abc") + c, 1),
    "an empty line": served(`${a}\r\n`),
    "an empty line in the next packet": served([a, "\r\n"]),
    "an empty line and a GET": served(`${a}\r\n${c}`, 2),
    "an empty line, and a GET in the next packet": served([`${a}\r\n`, c], 2),
    "empty lines and a POST": served(`${a}\r\n\r\n\r\n${b}`, 2),
    "half an empty line, and the rest with a GET": served([`${a}\r`, `\n${c}`], 2),
    "one byte too many, and a GET": refused(400, [`${a}d`, c], 1),
    "garbage in the same packet": refused(400, `${a}defghi\r\n\r\n`, 1),
    "garbage in the next packet": refused(400, [a, "defghi\r\n\r\n"], 1),
    "bytes that no text has": refused(400, `${a}\0\x01\xff`, 1),
    "a request that is ambiguous": refused(400, a + get("/any/../x", auth()), 1),
    "two lengths": refused(400, a + withLength("Content-Length: 5\r\n".repeat(2), "hello"), 1),
  };

  it.each(eachPlace(cut))("comes to the same: %s (%s)", async (what, before, situation) => {
    await expectAlike(ways, what, before, situation);
  });
  it.each(eachPlace(spellings))("comes to the same: a length with %s (%s)", async (what, before, situation) => {
    await expectAlike(ways, what, before, situation);
  });
  it.each(eachPlace(kinds))("comes to the same: %s (%s)", async (what, before, situation) => {
    await expectAlike(ways, what, before, situation);
  });
  it.each(eachPlace(followed))("comes to the same with %s behind it (%s)", async (what, before, situation) => {
    await expectAlike(ways, what, before, situation);
  });
  it("comes to the same behind a GET in its packet", async () => {
    for (const send of [c + a, [c + a.slice(0, 30), a.slice(30)], [c + a.slice(0, -2), a.slice(-2)]]) {
      await expectAlike(ways, "behind a GET", "first", served(send, 2));
    }
  });
  /** What comes while a request with a body waits for its answer; with the methods and statuses of the answers. */
  const behind: Readonly<Record<string, readonly [pieces: readonly string[], answers: readonly [string, number][]]>> = {
    "a GET": [[c], [["GET", 200]]],
    "a POST": [[b], [["POST", 200]]],
    "a POST in pieces": [[b.slice(0, 30), b.slice(30, -9), b.slice(-9)], [["POST", 200]]],
    "the head of a POST, and its body": [[headOf("/any/b", 5, auth()), "hello"], [["POST", 200]]],
    "a POST of 200 KiB": [[post("/any/b", bytesOf(200 * 1024), auth())], [["POST", 200]]],
    "a POST in chunks": [[chunked("/any/b", asChunks("hello"), auth())], [["POST", 200]]],
    "five GETs and a POST, which is more than may wait": [
      [c.repeat(5) + b],
      [...Array(5).fill(["GET", 200]), ["POST", 200]],
    ],
    "a HEAD": [[get("/any/c", auth(), "HEAD")], [["HEAD", 200]]],
    "a GET without a key": [[get("/any/c")], [["GET", 401]]],
    "a POST without a key": [[post("/any/b", "hello")], [["POST", 401]]],
    "an empty line and a GET": [["\r\n", c], [["GET", 200]]],
    garbage: [["\0\x01garbage\r\n\r\n"], [["GET", 400]]],
    "a GET and garbage": [
      [`${c}\0\x01garbage\r\n\r\n`],
      [
        ["GET", 200],
        ["GET", 400],
      ],
    ],
    "two lengths": [[withLength("Content-Length: 5\r\n".repeat(2), "hello")], [["POST", 400]]],
    "a wish for another protocol": [
      [get("/any/c", `${auth()}Connection: Upgrade\r\nUpgrade: h2c\r\n`)],
      [["GET", 200]],
    ],
    "the last request": [[get("/any/c", `${auth()}Connection: close\r\n`) + c], [["GET", 200]]],
  };
  it.each(eachPlace(behind))("comes to the same with %s behind it while it waits (%s)", async (what, before, given) => {
    const [pieces, answers] = given;
    const releases = new Map<unknown, () => void>();
    await ways.alike({
      name: `${what} (${before}) while it waits`,
      script: async (request, { socket }) => {
        if (request.target === "/any/held") await new Promise<void>((done) => releases.set(socket, done));
        return answerOk(request);
      },
      play: async (scene) => {
        if (before !== "first") await scene.asksBefore();
        await scene.send(post("/any/held", "abc", auth()));
        await scene.upstreamHas("/any/held", ({ complete }) => complete);
        for (const piece of pieces) {
          await scene.client.write(piece);
          await scene.beat();
        }
        expect(scene.client.rest().length).toBe(0);
        releases.get(scene.upstreamOf("/any/held").socket)?.();
        expect((await scene.answer("POST"))?.body.toString()).toContain("/any/held");
        for (const [method, status] of answers) expect((await scene.answer(method))?.status).toBe(status);
        await scene.endsAsSaid();
      },
    });
  });

  it("is recorded alike, whatever it came to", async () => {
    await ways.recordedAlike();
  });

  it("is never plain where it is meant for Node's server, whatever is plain else", () => {
    for (const request of [get("/any", auth()), a, c]) {
      const bytes = Buffer.from(unplain(request));
      expect(readPlainRequest(bytes)).toBeNull();
      expect(readPlainRequest(bytes.subarray(2))).toBeNull();
    }
  });
});
