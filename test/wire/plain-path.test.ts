import { createHash } from "node:crypto";
import { readFileSync, renameSync, writeFileSync } from "node:fs";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";
import { join } from "node:path";
import { connect as connectTls } from "node:tls";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { startGateway } from "../support/gateway.ts";
import { type SeenRequest, valuesOf } from "../support/http-parsers.ts";
import { type RawAnswer, RawClient } from "../support/raw-client.ts";
import {
  answer,
  answerOk,
  RecordingUpstream,
  type Script,
  type UpstreamConnection,
} from "../support/recording-upstream.ts";
import { auth, RIG_KEYRING, Rig, rigRoutes } from "../support/rig.ts";
import { formatFindings, get, HANG_MS, post } from "./wire.ts";

const MIB = 1024 * 1024;
/** So that its refusal is long as well. */
const LONG = Array.from({ length: 15 }, (_, index) => `permission.${"x".repeat(40)}${index}.read`).join(" OR ");

/** The ways of one request: an empty line in front of it is nobody's request, but no plain one either. */
const WAYS: Readonly<Record<string, (request: string) => readonly string[]>> = {
  "by itself": (request) => [request],
  "behind another": (request) => [get("/public/first"), request],
  "by Node's server": (request) => [`\r\n${request}`],
  "by Node's server, behind a plain one": (request) => [get("/public/first"), `\r\n${request}`],
};

describe("a plain request", () => {
  let rig: Rig;
  beforeAll(async () => {
    const routes = [
      ...rigRoutes(),
      {
        name: "by-body",
        match: { path: "/by-body" },
        permissions: "api.{body.apiId}.create_key",
        upstream: "recorder",
      },
      { name: "long", match: { path: "/longlong" }, permissions: LONG, upstream: "recorder" },
    ];
    rig = await Rig.start({ routes, limits: { headerTimeout: "1s", idleTimeout: "3s" } });
  });
  afterAll(() => rig?.stop());
  beforeEach(() => rig.upstream.reset());
  afterEach(async () => {
    rig.upstream.script = answerOk;
    expect(formatFindings(await rig.settle())).toBe("");
  });

  const chunkedAnswer = "HTTP/1.1 200 OK\r\nX-Recorder: 1\r\nTransfer-Encoding: chunked\r\n";
  const requests: Readonly<Record<string, string | readonly [request: string, script: Script]>> = {
    "with a key": get("/any/a?b=c%20d", auth()),
    "without one": get("/any"),
    "with two keys": get("/any", auth() + auth("RO")),
    "with a key that is none": get("/any", auth("UNKNOWN")),
    "with a key that may not": get("/admin", auth("RO")),
    "of no route": get("/nowhere"),
    "of another method": get("/only", auth(), "DELETE"),
    HEAD: get("/any", auth(), "HEAD"),
    "HEAD without a key": get("/any", "", "HEAD"),
    DELETE: get("/write/1", auth(), "DELETE"),
    "without Host": "GET /public HTTP/1.1\r\nX: y\r\n\r\n",
    "without any field": "GET /public HTTP/1.1\r\n\r\n",
    "with two Hosts": get("/public", "Host: other\r\n"),
    "with a Host that is none": "GET /public HTTP/1.1\r\nHost: a b\r\n\r\n",
    "of a path that is ambiguous": get("/public/../admin", auth()),
    "of a path with a semicolon": get("/public;x"),
    "with 101 fields": get("/public", "X-A: b\r\n".repeat(100)),
    "with a name that some take for Content-Length": get("/public", "content_length: 5\r\n"),
    "with a name that some take for Transfer-Encoding": get("/public", "Transfer.Encoding: chunked\r\n"),
    "with a name that some take for ours": get("/any", `${auth()}X_Unkey_Principal: {}\r\nX-Unkey-Key-Id: 1\r\n`),
    "with what proxies say": get("/public", "X-Forwarded-For: 1.2.3.4\r\nForwarded: for=1\r\nX-Real-IP: 1.1.1.1\r\n"),
    "with repeated fields": get("/public", "Accept: a\r\naCCEPT: b\r\nCookie: c=d\r\nCookie: e=f\r\n"),
    "that keeps alive": get("/public", "Connection: keep-alive\r\nKeep-Alive: timeout=5\r\n"),
    "whose permission is in a body": get("/by-body", auth()),
    "answered in pieces": [
      get("/any", auth()),
      async (_, connection) => {
        for (const piece of ["HTTP/1.1 200 OK\r\nX-Recorder: 1\r\nContent-Length: 6\r\n\r\n", "ab", "cd", "ef"]) {
          connection.send(piece);
          await new Promise((done) => setImmediate(done));
        }
        return null;
      },
    ],
    "answered in chunks with trailers": [
      get("/any", auth()),
      () => `${chunkedAnswer}Trailer: X-End\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\nX-End: yes\r\n\r\n`,
    ],
    "answered in no chunk": [get("/any", auth()), () => `${chunkedAnswer}\r\n0\r\n\r\n`],
    "answered until the end of the connection": [
      get("/any", auth()),
      (_, connection) => {
        connection.send("HTTP/1.1 200 OK\r\nX-Recorder: 1\r\nConnection: close\r\n\r\nabc");
        connection.socket.end();
        return null;
      },
    ],
    "answered with hints first": [
      get("/any", auth()),
      () => `HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n${answer(200, "hinted")}`,
    ],
    "answered with hints, twice, and in chunks": [
      get("/any", auth()),
      () => `${"HTTP/1.1 103 E\r\nLink: </a>; rel=preload\r\n\r\n".repeat(2)}${chunkedAnswer}\r\n1\r\na\r\n0\r\n\r\n`,
    ],
    "answered with a length for HEAD": [
      get("/any", auth(), "HEAD"),
      () => "HTTP/1.1 200 OK\r\nX-Recorder: 1\r\nContent-Length: 70000\r\n\r\n",
    ],
    "answered 204": [get("/any", auth()), () => "HTTP/1.1 204 No Content\r\nX-Recorder: 1\r\n\r\n"],
    "answered 304": [
      get("/any", `${auth()}If-None-Match: "a"\r\n`),
      () => 'HTTP/1.1 304 Not Modified\r\nX-Recorder: 1\r\nETag: "a"\r\n\r\n',
    ],
    "answered with cookies": [get("/any", auth()), () => answer(200, "", ["Set-Cookie: a=b", "Set-Cookie: c=d"])],
    "answered with bytes beyond ASCII": [get("/any", auth()), () => answer(200, "\xe4\0\xff", ["X-Name: \xe4"])],
    "answered with no phrase": [
      get("/any", auth()),
      () => "HTTP/1.1 299 \r\nX-Recorder: 1\r\nContent-Length: 0\r\n\r\n",
    ],
    "answered with 12 KiB": [get("/any", auth()), () => answer(200, "x".repeat(12 * 1024))],
    "answered with more": [get("/any", auth()), () => answer(200, "x".repeat(12 * 1024 + 1))],
    "answered with much": [get("/any", auth()), () => answer(200, "0123456789abcdef".repeat(100_000))],
    "answered with what is no HTTP": [get("/any", auth()), () => "SSH-2.0-x\r\n\r\n"],
    "answered with two lengths": [get("/any", auth()), () => answer(200, "abc", ["Content-Length: 4"])],
    "answered by a reset": [
      get("/any", auth(), "DELETE"),
      (_, connection) => {
        connection.resetNow();
        return null;
      },
    ],
  };

  it.each(Object.entries(requests))(
    "%s is answered alike and sent on alike, whichever way it takes",
    async (_, given) => {
      const [request, script = answerOk] = typeof given === "string" ? [given] : given;
      const seen: Record<string, unknown> = {};
      for (const [way, toPieces] of Object.entries(WAYS)) {
        rig.upstream.script = (each, connection) =>
          each.target.startsWith("/public/first") || each.target.startsWith("/fence")
            ? answerOk(each)
            : script(each, connection);
        const known = new Set(rig.upstream.requests().map(requestIdOf));
        const client = await rig.connect();
        const pieces = toPieces(request);
        if (pieces.length > 1) {
          await client.write(pieces[0] ?? "");
          expect((await client.answer())?.status).toBe(200);
        }
        await client.write(pieces.at(-1) ?? "");
        const got = await client.answer(request.split(" ")[0]);
        if (got?.headers.some(([name, value]) => name === "Connection" && value === "close")) await client.closed();
        const sentOn = rig.upstream
          .requests()
          .filter((each) => !known.has(requestIdOf(each)) && each.target !== "/public/first")
          .filter((each) => !each.target.startsWith("/fence"));
        seen[way] = { answer: likeness(got), closed: client.ended !== null, sentOn: sentOn.map(withoutId) };
        // The next one on the same connection, where there is one.
        if (client.ended === null) {
          rig.upstream.script = answerOk;
          await client.write(get("/public/next"));
          expect((await client.answer())?.body.toString(), way).toContain("/public/next");
        }
        client.destroy();
      }
      for (const [way, each] of Object.entries(seen)) expect(each, way).toEqual(seen["by Node's server"]);
    },
  );

  /** Answers to `/any/held` wait for `release`; all others are given at once. */
  function hold(): { readonly arrived: Promise<UpstreamConnection>; readonly release: () => void } {
    let release = () => {};
    let arrive: (connection: UpstreamConnection) => void = () => {};
    const arrived = new Promise<UpstreamConnection>((done) => {
      arrive = done;
    });
    const held = new Promise<void>((done) => {
      release = done;
    });
    rig.upstream.script = async (request, connection) => {
      if (request.target === "/any/held") {
        arrive(connection);
        await held;
      }
      const key = valuesOf(request, "sec-websocket-key")[0];
      return key === undefined ? answerOk(request) : switching(key);
    };
    return { arrived, release };
  }

  const websocket =
    `GET /ws/chat HTTP/1.1\r\nHost: gw\r\n${auth()}Connection: Upgrade\r\nUpgrade: websocket\r\n` +
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
  const behind: Readonly<
    Record<string, readonly [bytes: string, answers: readonly [method: string, status: number][]]>
  > = {
    "another plain one": [get("/any/second", auth()), [["GET", 200]]],
    "three others": [
      get("/any/second", auth()) + get("/any/third", auth(), "HEAD") + get("/any/fourth"),
      [
        ["GET", 200],
        ["HEAD", 200],
        ["GET", 401],
      ],
    ],
    "one with a body": [post("/any/second", get("/admin/smuggled"), auth()), [["POST", 200]]],
    "one with a body and a plain one": [
      post("/any/second", "abc", auth()) + get("/any/third", auth()),
      [
        ["POST", 200],
        ["GET", 200],
      ],
    ],
    "an empty line": ["\r\n", []],
    "half a head": ["GET /any/second HTTP/1.1\r\nHost: gw\r\nX-", [["GET", 408]]],
    garbage: ["\0\x01\x02 garbage\r\n\r\n", [["GET", 400]]],
    "a plain one and garbage": [
      `${get("/any/second", auth())}\x7f\r\n\r\n`,
      [
        ["GET", 200],
        ["GET", 400],
      ],
    ],
    "a request that is too large": [get("/any/second", `X: ${"x".repeat(40_000)}\r\n`), [["GET", 431]]],
    "two lengths": [
      `POST /any/second HTTP/1.1\r\nHost: gw\r\n${auth()}Content-Length: 1\r\nContent-Length: 2\r\n\r\nab`,
      [["POST", 400]],
    ],
    "a wish for another protocol": [
      `GET /any/second HTTP/1.1\r\nHost: gw\r\n${auth()}Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n`,
      [["GET", 200]],
    ],
    "a WebSocket": [websocket, [["GET", 101]]],
  };

  it.each(
    Object.entries(behind).flatMap(([what, [bytes, answers]]) =>
      ["at once", "byte by byte"].map((how) => [what, how, bytes, answers] as const),
    ),
  )("that waits for its answer has %s behind it, %s: all are answered in order", async (_, how, bytes, answers) => {
    const { arrived, release } = hold();
    const client = await rig.connect();
    await client.write(get("/any/held", auth()));
    await arrived;
    if (how === "at once" || bytes.length > 10_000) await client.write(bytes);
    else await client.writeSplit(bytes, () => 1);
    expect(client.received.length).toBe(0);
    release();
    expect((await client.answer())?.body.toString()).toContain("/any/held");
    for (const [method, status] of answers) expect((await client.answer(method, HANG_MS))?.status).toBe(status);
    expect(client.rest().length).toBe(0);
    client.destroy();
    const targets = rig.upstream.requests().map(({ target }) => target);
    expect(targets).not.toContain("/admin/smuggled");
  });

  it("that waits for its answer has 20 MB of requests behind it: the client is held back, and all are answered in order", async () => {
    const { arrived, release } = hold();
    const client = await rig.connect();
    await client.write(get("/any/held", auth()));
    await arrived;
    const before = rig.gateway.rssBytes();
    const count = 2500;
    const padding = `X-Pad: ${"x".repeat(8000)}\r\n`;
    const batch = Array.from({ length: count }, (__, index) => get(`/nowhere/${index}`, padding)).join("");
    let taken = false;
    const writing = client.write(batch).then(() => {
      taken = true;
    });
    // Others are served meanwhile, and the client gets rid of no more than fits into the kernel and 64 KiB.
    for (let round = 0; round < 20; round++) {
      const stranger = await rig.connect();
      await stranger.write(get("/public/stranger"));
      expect((await stranger.answer())?.status).toBe(200);
      stranger.destroy();
    }
    expect(taken).toBe(false);
    expect(rig.gateway.rssBytes() - before).toBeLessThan(24 * MIB);
    release();
    expect((await client.answer())?.body.toString()).toContain("/any/held");
    await writing;
    const marks = () => client.received.toString("latin1").split("HTTP/1.1 404").length - 1;
    await client.until(() => marks() >= count, 30_000);
    for (let index = 0; index < count; index++) expect((await client.answer())?.status).toBe(404);
    client.destroy();
    await rig.gateway.waitForRecord(({ path }) => path === `/nowhere/${count - 1}`);
    const paths = rig.gateway.logs().flatMap(({ path }) => (/^\/nowhere\//.test(String(path)) ? [path] : []));
    expect(paths.slice(-count)).toEqual(Array.from({ length: count }, (__, index) => `/nowhere/${index}`));
  }, 60_000);

  it.each(["halfClose", "reset", "destroy"] as const)(
    "whose client leaves (%s) while it waits, with something behind it or not, ends upstream too",
    async (how) => {
      for (const bytes of ["", "GET / HT", get("/any/late", auth()), post("/any/late", "x".repeat(30_000), auth())]) {
        const { arrived } = hold();
        const client = await rig.connect();
        await client.write(get("/any/held", auth()));
        const mine = await arrived;
        await client.write(bytes);
        expect(mine.closed).toBe(false);
        client[how]();
        await rig.upstream.until(() => mine.closed, HANG_MS);
        expect(rig.upstream.requests().filter(({ target }) => target === "/any/late")).toEqual([]);
        client.destroy();
      }
      expect(await rig.socketsLeft()).toBeLessThanOrEqual(0);
    },
  );

  it.each(["halfClose", "reset", "destroy"] as const)(
    "whose client leaves (%s) before it, between two, and in the middle of an answer leaves nothing behind",
    async (how) => {
      rig.upstream.script = (request) =>
        request.target === "/any/begun"
          ? "HTTP/1.1 200 OK\r\nX-Recorder: 1\r\nContent-Length: 1000\r\n\r\npartial"
          : answerOk(request);
      for (const phase of ["before", "between", "during"]) {
        const client = await rig.connect();
        if (phase === "between") {
          await client.write(get("/any", auth()));
          expect((await client.answer())?.status).toBe(200);
        }
        if (phase === "during") {
          await client.write(get("/any/begun", auth()));
          await client.until(() => client.received.includes("partial"));
        }
        client[how]();
        if (how === "halfClose") await client.closed();
        client.destroy();
      }
      await rig.upstream.until(
        () => !rig.upstream.connections.some((each) => !each.closed && each.bytes().includes("/any/begun")),
        HANG_MS,
      );
      expect(await rig.socketsLeft()).toBeLessThanOrEqual(0);
    },
  );

  it.each([
    ["with a length", "Content-Length: 100000\r\n\r\nabc"],
    ["in chunks", "Transfer-Encoding: chunked\r\n\r\n5\r\nabc"],
    ["in chunks, all but the last", "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"],
    ["in chunks, all but the last line", "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-End: y\r\n"],
  ])("whose answer %s breaks off does not look whole, and nothing comes behind it", async (_, rest) => {
    for (const end of ["end", "reset"] as const) {
      let serving: UpstreamConnection | undefined;
      rig.upstream.script = (request, connection) => {
        if (request.target !== "/any/broken") return answerOk(request);
        serving = connection;
        connection.send(`HTTP/1.1 200 OK\r\nX-Recorder: 1\r\n${rest}`);
        return null;
      };
      const client = await rig.connect();
      await client.write(get("/any/broken", auth()));
      await client.until(() => client.received.includes("abc"));
      await client.write(get("/any/second", auth()));
      if (end === "end") serving?.socket.end();
      else serving?.resetNow();
      expect(await client.answer().catch(() => null)).toBeNull();
      await client.closed();
      expect(client.received.toString("latin1").split("HTTP/1.1").length).toBe(2);
      client.destroy();
    }
  });

  it("with a large answer for a slow reader gets it whole, and the next one", async () => {
    const body = "0123456789abcdef".repeat(500_000);
    rig.upstream.script = (request) => (request.target === "/any/large" ? answer(200, body) : answerOk(request));
    const client = await rig.connect();
    client.socket.pause();
    await client.write(get("/any/large", auth()));
    await rig.upstream.until(() => rig.upstream.requests().some(({ target }) => target === "/any/large"));
    const slowly = setInterval(() => {
      if (client.socket.isPaused()) client.socket.resume();
      else client.socket.pause();
    }, 3);
    await client.write(get("/any/second", auth()));
    const large = await client.answer("GET", 25_000);
    clearInterval(slowly);
    client.socket.resume();
    expect(large?.body.equals(Buffer.from(body))).toBe(true);
    expect((await client.answer())?.body.toString()).toContain("/any/second");
    client.destroy();
  });

  it("whose client does not take its answer is closed in time", async () => {
    rig.upstream.script = (request) =>
      request.target === "/quick" ? answer(200, "x".repeat(40 * MIB)) : answerOk(request);
    const client = await rig.connect();
    client.socket.pause();
    await client.write(get("/quick", auth()));
    await rig.gateway.waitForRecord(({ path, bytesOut }) => path === "/quick" && Number(bytesOut) > 0, 20_000);
    client.socket.resume();
    await client.closed();
    expect(client.received.length).toBeLessThan(40 * MIB);
  });

  it("whose client goes on to ask and takes no refusal is closed in time", async () => {
    await askUntilClosed(rig, get("/longlong", auth("RO")));
  });

  it("whose client ends its side and does not take the answer, with half a request behind it, is over in good time", async () => {
    let serving: UpstreamConnection | undefined;
    rig.upstream.script = (request, connection) => {
      if (request.target !== "/any/large") return answerOk(request);
      serving = connection;
      return answer(200, "x".repeat(40 * MIB));
    };
    const client = await rig.connect();
    client.socket.pause();
    await client.write(get("/any/large", auth()));
    await rig.upstream.until(() => serving !== undefined);
    await client.write("GET / HT");
    client.halfClose();
    await rig.upstream.until(() => serving?.closed === true, 3 * HANG_MS);
    client.socket.resume();
    await client.closed();
    expect(client.received.length).toBeLessThan(40 * MIB);
  });

  it.each([
    ["plain", (request: string) => [request]],
    ["a plain one and more", (request: string) => [request + request]],
    ["in two pieces", (request: string) => [request.slice(0, 9), request.slice(9)]],
    ["a plain one, again and again", (request: string) => Array.from({ length: 20 }, () => request)],
  ])("that comes behind the last answer of a connection is nobody's: %s", async (_, toPieces) => {
    for (const last of [get("/public/../x", auth()), "GET /public HTTP/1.1\r\n\r\n"]) {
      const client = await rig.connect();
      await client.write(last);
      expect((await client.answer())?.status).toBe(400);
      for (const piece of toPieces(get("/write/behind", auth(), "DELETE"))) {
        await client.write(piece);
        // Each is read by itself: a stranger's answer comes behind it.
        const other = await rig.connect();
        await other.write(get("/public/between"));
        expect((await other.answer())?.status).toBe(200);
        other.destroy();
      }
      await client.closed();
      expect(client.rest().length).toBe(0);
      client.destroy();
    }
    expect(rig.upstream.requests().filter(({ target }) => target === "/write/behind")).toEqual([]);
  });

  it("whose client ends its side at once gets what is known at once", async () => {
    for (const request of [get("/any"), get("/any", auth("UNKNOWN")), `\r\n${get("/any")}`]) {
      const client = await rig.connect();
      client.socket.cork();
      void client.write(request);
      client.halfClose();
      client.socket.uncork();
      expect((await client.answer())?.status).toBe(401);
      expect(await client.closed()).toBe("end");
    }
  });

  it("with an empty line behind it goes on, or is told in time that no request came", async () => {
    for (const more of [get("/any/b", auth()), ""]) {
      const client = await rig.connect();
      await client.write(get("/any/a", auth()));
      expect((await client.answer())?.status).toBe(200);
      await client.write("\r\n");
      await client.write(more);
      expect((await client.answer("GET", HANG_MS))?.status).toBe(more === "" ? 408 : 200);
      client.destroy();
    }
  });

  it("in pieces is Node's, and so are those that come after it, plain or not", async () => {
    const client = await rig.connect();
    await client.write(get("/any/first", auth()));
    expect((await client.answer())?.status).toBe(200);
    await client.writeSplit(get("/any/second", auth()), () => 1);
    expect((await client.answer())?.status).toBe(200);
    for (const bytes of [get("/any/third", auth()), post("/any/fourth", "abc", auth()), get("/any/fifth", auth())]) {
      await client.write(bytes);
      expect((await client.answer())?.status).toBe(200);
    }
    await client.write("garbage\r\n\r\n");
    expect((await client.answer())?.status).toBe(400);
    await client.closed();
  });
});

/** One by one, so that none is read behind another: a stranger's answer comes behind each. */
async function askUntilClosed(rig: Rig, request: string): Promise<void> {
  const [client, other] = [await rig.connect(), await rig.connect()];
  client.socket.pause();
  for (let asked = 0; asked < 100_000 && client.ended === null; asked++) {
    await client.write(request);
    await other.write(get("/public/between"));
    expect((await other.answer())?.status).toBe(200);
  }
  expect(client.ended).not.toBeNull();
  other.destroy();
  client.destroy();
  expect(await rig.socketsLeft()).toBeLessThanOrEqual(0);
}

describe("an upstream's time-out for those who fall silent", () => {
  it.each([
    ["read without Node's server", get("/quick", auth())],
    ["of Node's server", `\r\n${get("/quick", auth())}`],
  ])(
    "holds for clients that take no answers in one piece to requests %s, whatever a connection may be idle",
    async (_, request) => {
      const rig = await Rig.start({ limits: { idleTimeout: "10m" } });
      rig.upstream.script = (seen) => (seen.target === "/quick" ? answer(200, "x".repeat(12_000)) : answerOk(seen));
      await askUntilClosed(rig, request);
      await rig.stop();
    },
  );
});

describe("a reload", () => {
  it("counts from the next plain request of a connection on, and not for the one under way", async () => {
    let release = () => {};
    const held = new Promise<void>((done) => {
      release = done;
    });
    let arrive = () => {};
    const arrived = new Promise<void>((done) => {
      arrive = done;
    });
    const upstream = await RecordingUpstream.start(async (request) => {
      if (request.target !== "/public/held") return answerOk(request);
      arrive();
      await held;
      return answerOk(request);
    });
    const gateway = await startGateway({
      config: { upstreams: [{ name: "recorder", targets: [upstream.origin] }], routes: rigRoutes() },
      keyring: RIG_KEYRING,
    });
    const [busy, idle] = [await RawClient.connect(gateway.port), await RawClient.connect(gateway.port)];
    await idle.write(get("/public", "X-Forwarded-For: 192.0.2.1\r\n"));
    expect((await idle.answer())?.status).toBe(200);
    await busy.write(get("/public/held"));
    await arrived;
    const path = join(gateway.folder, "sentinel.yaml");
    const changed = readFileSync(path, "utf8").replace("/public", "/published");
    writeFileSync(`${path}.new`, `${changed}trustedProxies: [127.0.0.0/8]\n`);
    renameSync(`${path}.new`, path);
    gateway.signal("SIGHUP");
    await gateway.waitForRecord(
      ({ event, generation }) => event === "config_reloaded" && Number(generation) >= 2,
      20_000,
    );
    release();
    expect((await busy.answer())?.status).toBe(200);
    for (const client of [busy, idle]) {
      await client.write(get("/public"));
      expect((await client.answer())?.status).toBe(404);
      await client.write(get("/published", "X-Forwarded-For: 192.0.2.1\r\n"));
      expect((await client.answer())?.status).toBe(200);
      client.destroy();
    }
    const forwardedFor = upstream.requests().map((request) => valuesOf(request, "x-forwarded-for").join());
    expect(forwardedFor).toEqual(["127.0.0.1", "127.0.0.1", "192.0.2.1, 127.0.0.1", "192.0.2.1, 127.0.0.1"]);
    await gateway.stop();
    await upstream.stop();
  });
});

describe("plain requests over TLS", () => {
  it("are answered in order with what comes behind them in many records", async () => {
    const upstream = await RecordingUpstream.start();
    const fixture = (name: string) => readFileSync(`test/forward/fixtures/${name}`, "utf8");
    const gateway = await startGateway({
      config: {
        tls: { cert: { file: "tls.crt" }, key: { file: "tls.key" } },
        upstreams: [{ name: "recorder", targets: [upstream.origin] }],
        routes: rigRoutes(),
      },
      keyring: RIG_KEYRING,
      files: { "tls.crt": fixture("upstream.crt"), "tls.key": fixture("upstream.key") },
    });
    const body = "0123456789".repeat(30_000);
    const parts = [get("/any/1", auth()), post("/any/2", body, auth()), get("/any/3", auth())];
    for (const pieces of [[parts.join("")], parts, [parts[0] ?? "", parts.slice(1).join("")], [...(parts[0] ?? "")]]) {
      const socket = connectTls({ port: gateway.port, host: "127.0.0.1", rejectUnauthorized: false });
      let text = "";
      const wanted = pieces.length > 10 ? 1 : 3;
      const targets = () =>
        [...text.matchAll(/"target":"([^"]+)","bodyBytes":(\d+)/g)].map(([, target, n]) => [target, n]);
      await new Promise<void>((done, failed) => {
        socket.on("error", failed);
        socket.on("data", (chunk: Buffer) => {
          text += chunk.toString("latin1");
          if (targets().length >= wanted) done();
        });
        socket.once("secureConnect", () => {
          for (const piece of pieces) socket.write(piece);
        });
      });
      const all = [
        ["/any/1", "0"],
        ["/any/2", String(body.length)],
        ["/any/3", "0"],
      ];
      expect(targets()).toEqual(all.slice(0, wanted));
      socket.destroy();
    }
    await gateway.stop();
    await upstream.stop();
  });

  it("are answered behind an answer that their client does not take yet, though several records come in one read", async () => {
    const listening = async (server: Server) => {
      await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
      return (server.address() as AddressInfo).port;
    };
    const sized = (body: Buffer | string) => `HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n\r\n`;
    const large = Buffer.alloc(32 * MIB, "a");
    let begin: (from: Socket) => void = () => {};
    const begun = new Promise<Socket>((done) => {
      begin = done;
    });
    const upstream = createServer((socket) => {
      socket.on("error", () => {});
      socket.on("data", (request) => {
        if (!request.includes("/any/large")) return socket.write(`${sized("ok")}ok`);
        socket.write(sized(large));
        socket.write(large);
        begin(socket);
      });
    });
    const fixture = (name: string) => readFileSync(`test/forward/fixtures/${name}`, "utf8");
    const gateway = await startGateway({
      config: {
        tls: { cert: { file: "tls.crt" }, key: { file: "tls.key" } },
        upstreams: [{ name: "recorder", targets: [`http://127.0.0.1:${await listening(upstream)}`] }],
        routes: rigRoutes(),
      },
      keyring: RIG_KEYRING,
      files: { "tls.crt": fixture("upstream.crt"), "tls.key": fixture("upstream.key") },
    });
    // What it does not read for a while, it reads at once.
    let relayed: Socket | null = null;
    const relay = createServer((socket) => {
      relayed = socket;
      socket.pipe(connect(gateway.port, "127.0.0.1")).pipe(socket);
    });
    const client = await RawClient.connect(await listening(relay), { tls: true });
    const stranger = await RawClient.connect(gateway.port, { tls: true });
    const beat = async () => {
      await stranger.write(get("/any/beat", auth()));
      expect((await stranger.answer("GET", HANG_MS))?.status).toBe(200);
    };

    client.socket.pause();
    await client.write(`\r\n${get("/any/large", auth())}`);
    const socket = await begun;
    // Nobody takes more of it.
    for (let left = -1; left !== socket.writableLength; await beat()) left = socket.writableLength;
    (relayed as Socket | null)?.pause();
    for (let record = 0; record < 5; record++) await client.write(get("/any/small", auth()));
    (relayed as Socket | null)?.resume();
    await beat();
    client.socket.resume();
    for (let record = 0; record < 6; record++) expect((await client.answer("GET", HANG_MS))?.status).toBe(200);

    for (const each of [client, stranger]) each.destroy();
    await gateway.stop();
    for (const server of [relay, upstream]) server.close();
  });

  it("are those of HTTP/1.0 clients too, which offer that alone in the handshake", async () => {
    const fixture = (name: string) => readFileSync(`test/forward/fixtures/${name}`, "utf8");
    const gateway = await startGateway({
      config: {
        tls: { cert: { file: "tls.crt" }, key: { file: "tls.key" } },
        upstreams: [{ name: "nobody", targets: ["http://127.0.0.1:9"] }],
        routes: [{ name: "all", match: { pathPrefix: "/" }, upstream: "nobody" }],
      },
      keyring: RIG_KEYRING,
      files: { "tls.crt": fixture("upstream.crt"), "tls.key": fixture("upstream.key") },
    });
    /** What was agreed on and the status line, or the code of the alert. */
    const offer = (ALPNProtocols: string[], version: string) =>
      new Promise<string>((done) => {
        const at = { port: gateway.port, host: "127.0.0.1", rejectUnauthorized: false, ALPNProtocols };
        const socket = connectTls(at, () => socket.write(`GET /x HTTP/${version}\r\nHost: a\r\n\r\n`));
        socket.once("error", (error: NodeJS.ErrnoException) => done(String(error.code)));
        socket.once("data", (chunk: Buffer) => {
          done(`${socket.alpnProtocol || "nothing"}: ${chunk.toString("latin1").split("\r\n")[0]}`);
          socket.destroy();
        });
      });
    expect(await offer(["http/1.0"], "1.0")).toBe("http/1.0: HTTP/1.1 401 Unauthorized");
    expect(await offer(["http/1.0", "http/1.1"], "1.1")).toBe("http/1.1: HTTP/1.1 401 Unauthorized");
    expect(await offer(["h2", "http/1.1"], "1.1")).toBe("http/1.1: HTTP/1.1 401 Unauthorized");
    expect(await offer([], "1.1")).toBe("nothing: HTTP/1.1 401 Unauthorized");
    expect(await offer(["h2"], "1.1")).toBe("ERR_SSL_TLSV1_ALERT_NO_APPLICATION_PROTOCOL");
    await gateway.stop();
  });
});

/** What of an answer has to be the same on both ways: all but who it is for, when it was made and the order of its fields. */
function likeness(got: RawAnswer | null): unknown {
  if (got === null) return null;
  const headers = got.headers
    .map(([name, value]) => `${name}: ${["x-request-id", "date"].includes(name.toLowerCase()) ? "..." : value}`)
    .sort();
  const body = got.body.toString("latin1").replace(/req_[0-9a-z]{15}/, "...");
  return { ...got, headers, body };
}

function withoutId({ target, method, version, headers, body, complete }: SeenRequest): unknown {
  const told = headers.map(([name, value]) => `${name}: ${name === "X-Request-Id" ? "..." : value}`);
  return { target, method, version, headers: told, body: body.toString("latin1"), complete };
}

function requestIdOf(request: SeenRequest): string {
  return String(valuesOf(request, "x-request-id")[0]);
}

function switching(key: string): string {
  const accept = createHash("sha1").update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest("base64");
  return `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`;
}
