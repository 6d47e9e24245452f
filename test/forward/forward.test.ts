import { describe, expect, it } from "vitest";
import { createHttpEngine } from "../../src/forward/http-engine.ts";
import { createSocketEngine } from "../../src/forward/socket-engine.ts";
import { forwardParts, type RigOptions, upstreamOn, VIA } from "./forward-rig.ts";
import { answering, holdWrites, refusingPort, reset, type Script } from "./support.ts";

const OK = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const CHUNKED_OK = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";
const GET = "GET /a?b HTTP/1.1\r\nHost: api.example\r\n\r\n";
const CHUNKED = "POST /up HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";

describe.each([
  ["node:http", createHttpEngine],
  ["sockets", createSocketEngine],
] as const)("forwarding over %s", (_, createEngine) => {
  const { upstream, rig, client } = forwardParts(createEngine);

  /** A gateway in front of `script`, and a client that has sent `request`. */
  async function exchange(script: Script, request: string, options: Partial<RigOptions> = {}) {
    const server = await upstream(script);
    const gateway = await rig({ upstream: upstreamOn(server.port), ...options });
    const caller = await client(gateway);
    caller.write(request);
    return { server, gateway, caller };
  }

  function fields(text: string): string[] {
    return text.split("\r\n\r\n")[0]!.split("\r\n").slice(1);
  }

  describe("an exchange", () => {
    it("goes there and back", async () => {
      const { server, gateway, caller } = await exchange(answering(OK), GET);
      await caller.seen("\r\n\r\nok");
      const { exchange: done, outcome } = await gateway.ending();
      expect(outcome).toEqual({ kind: "answered" });
      expect(done).toMatchObject({ status: 200, bytesIn: 0, bytesOut: 2, upstream: "orders", retries: 0, fault: null });
      expect(done.upstreamStartedAt).toBeGreaterThan(0);
      expect(done.upstreamEndedAt).toBeGreaterThanOrEqual(done.upstreamStartedAt);
      const sent = server.connections[0]!.received;
      expect(sent).toMatch(/^GET \/a\?b HTTP\/1\.1\r\nHost: api\.example\r\n/);
      expect(sent).toContain(`X-Request-Id: ${done.requestId}\r\n`);
      expect(sent).toContain(
        "X-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: api.example\r\n",
      );
      expect(sent).toContain(`X-Forwarded-Port: ${gateway.port}\r\n`);
      expect(sent).toContain(`Via: ${VIA}\r\n`);
      expect(fields(caller.received)).toContain(`X-Request-Id: ${done.requestId}`);
      expect(fields(caller.received)).toContain(`Via: ${VIA}`);
    });

    it("leaves both connections for the next one", async () => {
      const { server, gateway, caller } = await exchange(answering(OK), GET);
      await caller.seen("ok");
      caller.write(GET);
      await caller.seen("\r\n\r\nok", 2);
      expect(server.connections).toHaveLength(1);
      expect((await gateway.ending(2)).exchange.status).toBe(200);
    });

    it("sends the target's authority where the route does not preserve Host", async () => {
      const { server, caller } = await exchange(answering(OK), GET, { route: { preserveHost: false } as never });
      await caller.seen("ok");
      expect(server.connections[0]!.received).toContain(`Host: 127.0.0.1:${server.port}\r\n`);
      expect(server.connections[0]!.received).toContain("X-Forwarded-Host: api.example\r\n");
    });

    it("keeps the upstream's fields and their bytes, its reason, its Date", async () => {
      const answer =
        "HTTP/1.1 299 Fin\xe9\r\nDate: Mon, 01 Jan 2024 00:00:00 GMT\r\nSet-Cookie: a=\xff\r\nset-cookie: b\r\nX-Request-ID: theirs\r\nX-Unkey-Error-Source: sentinel\r\nContent-Length: 002\r\n\r\nok";
      const { gateway, caller } = await exchange(answering(answer), GET);
      await caller.seen("ok");
      const { requestId } = (await gateway.ending()).exchange;
      expect(caller.received).toMatch(/^HTTP\/1\.1 299 Fin\xe9\r\n/);
      expect(fields(caller.received)).toEqual([
        "Date: Mon, 01 Jan 2024 00:00:00 GMT",
        "Set-Cookie: a=\xff",
        "set-cookie: b",
        `X-Request-ID: ${requestId}`,
        "Content-Length: 2",
        `Via: ${VIA}`,
        "Connection: keep-alive",
        "Keep-Alive: timeout=30",
      ]);
    });

    it("sends a head that has no body yet at once", async () => {
      const { caller, server } = await exchange(
        answering("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"),
        GET,
      );
      await caller.seen("text/event-stream");
      await caller.seen("\r\n\r\n");
      server.connections[0]!.write("5\r\nfirst\r\n");
      await caller.seen("5\r\nfirst\r\n");
    });

    it("keeps the bytes above 127 of a head that is sent before its body is there", async () => {
      const { caller, server } = await exchange(
        answering("HTTP/1.1 299 Fin\xe9\r\nX-Latin: caf\xc3\xa9 \xff\r\nContent-Length: 2\r\n\r\n"),
        GET,
      );
      await caller.seen("\r\n\r\n");
      server.connections[0]!.write("ok");
      await caller.seen("ok");
      expect(caller.received).toMatch(/^HTTP\/1\.1 299 Fin\xe9\r\n/);
      expect(fields(caller.received)).toContain("X-Latin: caf\xc3\xa9 \xff");
    });

    it("is chunked for HTTP/1.1, ends with the connection for HTTP/1.0", async () => {
      const chunks = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";
      const modern = await exchange(answering(chunks), GET);
      await modern.caller.seen("\r\n\r\n2\r\nok\r\n0\r\n\r\n");
      expect(modern.caller.received.match(/transfer-encoding/gi)).toHaveLength(1);

      const old = await exchange(answering(chunks), "GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n");
      await old.caller.until(() => old.caller.ended);
      expect(old.caller.received).toMatch(/\r\n\r\nok$/);
      expect(old.caller.received).not.toMatch(/transfer-encoding/i);
    });

    it("passes trailers, and announces them only where they can come", async () => {
      const chunks =
        "HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 1\r\nSet-Cookie: a=1\r\nX-Request-Id: theirs\r\n\r\n";
      const { caller } = await exchange(answering(chunks), GET);
      await caller.seen("0\r\nX-Sum: 1\r\n\r\n");
      expect(fields(caller.received)).toContain("Trailer: X-Sum");

      const length = "HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nContent-Length: 2\r\n\r\nok";
      const plain = await exchange(answering(length), GET);
      await plain.caller.seen("ok");
      expect(plain.caller.received).not.toMatch(/trailer/i);
    });

    it.each([
      ["HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "Content-Length: 5"],
      ["GET", "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello", null],
      ["GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", "Content-Length: 5"],
    ])("gives no body to %s, %j, and keeps the connection in step", async (method, answer, length) => {
      const { caller } = await exchange(
        (connection) => answering(connection.index === 0 ? answer : OK)(connection),
        `${method} / HTTP/1.1\r\nHost: a\r\n\r\n`,
      );
      await caller.seen("\r\n\r\n");
      const head = fields(caller.received);
      expect(head.filter((field) => /^(content-length|transfer-encoding)/i.test(field))).toEqual(
        length ? [length] : [],
      );
      caller.write("GET /next HTTP/1.1\r\nHost: a\r\n\r\n");
      await caller.seen("HTTP/1.1", 2);
      expect(caller.received).not.toContain("hello");
    });

    it("sends on together what one read brought in small pieces, and waits for no more", async () => {
      const { caller, server } = await exchange(
        (connection) =>
          connection.write(`HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n${"1\r\na\r\n".repeat(500)}`),
        GET,
      );
      await caller.seen("a".repeat(500));
      expect(caller.received.split("\r\n\r\n")[1]).toBe(`1f4\r\n${"a".repeat(500)}\r\n`);
      server.connections[0]!.write(
        `${"1\r\nb\r\n".repeat(20)}800\r\n${"c".repeat(2048)}\r\n2\r\ndd\r\n0\r\nX-T: 1\r\n\r\n`,
      );
      await caller.seen("X-T: 1\r\n\r\n");
      const rest = `14\r\n${"b".repeat(20)}\r\n800\r\n${"c".repeat(2048)}\r\n2\r\ndd\r\n0\r\nX-T: 1\r\n`;
      expect(caller.received).toContain(`a\r\n${rest}`);
    });

    it("relays the links of a 103 and swallows other interim answers", async () => {
      const interim =
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\nX-Other: 1\r\n\r\n";
      const { caller } = await exchange(answering(interim + OK), GET);
      await caller.seen("ok");
      expect(caller.received).toMatch(
        /^HTTP\/1\.1 103 Early Hints\r\nLink: <\/a\.css>; rel=preload\r\n\r\nHTTP\/1\.1 200 OK\r\n/,
      );
      expect(caller.received).not.toContain("X-Other");

      const broken = "HTTP/1.1 103 Early Hints\r\nLink: nonsense\r\n\r\n";
      const unclean = await exchange(answering(broken + OK), GET);
      await unclean.caller.seen("ok");
      expect(unclean.caller.received).toMatch(/^HTTP\/1\.1 200 OK/);
      const hours = `HTTP/1.1 103 Early Hints\r\nLink: </a>${"; a=b=c".repeat(40)}; "\r\n\r\n`;
      const hostile = await exchange(answering(hours + OK), GET);
      await hostile.caller.seen("ok");
      expect(hostile.caller.received).toMatch(/^HTTP\/1\.1 200 OK/);
      const old = await exchange(answering(interim + OK), "GET / HTTP/1.0\r\nHost: a\r\n\r\n");
      await old.caller.seen("ok");
      expect(old.caller.received).toMatch(/^HTTP\/1\.1 200 OK/);
    });
  });

  describe("a request body", () => {
    const upload: Script = async (connection) => {
      await connection.seen("\r\n\r\nhello");
      connection.write(OK);
    };

    it("keeps its length", async () => {
      const { server, gateway, caller } = await exchange(
        upload,
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 05\r\n\r\nhello",
      );
      await caller.seen("ok");
      expect((await gateway.ending()).exchange.bytesIn).toBe(5);
      expect(server.connections[0]!.received).toMatch(/\r\nContent-Length: 5\r\n/);
      expect(server.connections[0]!.received).toMatch(/\r\n\r\nhello$/);
      caller.write(GET);
      await server.connections[0]!.seen("GET /a?b");
    });

    it.each(["POST", "GET", "DELETE", "OPTIONS"])("is chunked where it came in chunks: %s", async (method) => {
      const payload = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
      const { server, caller } = await exchange(
        async (connection) => {
          await connection.seen("\r\n0\r\n\r\n");
          connection.write(OK);
        },
        `${CHUNKED.replace("POST", method)}${payload.length.toString(16)};ext=1\r\n${payload}\r\n0\r\nX-Trailer: 1\r\n\r\n`,
      );
      await caller.seen("ok");
      const sent = server.connections[0]!.received;
      expect(sent).toContain("\r\nTransfer-Encoding: chunked\r\n");
      expect(sent).not.toMatch(/content-length|ext=1|X-Trailer/i);
      expect(sent.slice(sent.indexOf("\r\n\r\n") + 4)).toBe(
        `${payload.length.toString(16)}\r\n${payload}\r\n0\r\n\r\n`,
      );
    });

    it("that was read goes on as the very same bytes, with its length", async () => {
      const { server, gateway, caller } = await exchange(upload, `${CHUNKED}5\r\nhello\r\n0\r\n\r\n`, {
        readBody: true,
      });
      await caller.seen("ok");
      expect(server.connections[0]!.received).toMatch(/\r\nContent-Length: 5\r\n/);
      expect(server.connections[0]!.received).not.toMatch(/transfer-encoding/i);
      expect((await gateway.ending()).outcome).toEqual({ kind: "answered" });
    });

    it("is asked for with 100 only when the upstream is there to take it", async () => {
      const request = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n";
      const { server, caller } = await exchange(upload, request);
      await caller.seen("HTTP/1.1 100 Continue\r\n\r\n");
      caller.write("hello");
      await caller.seen("ok");
      expect(caller.received.match(/100 Continue/g)).toHaveLength(1);
      expect(server.connections[0]!.received).not.toMatch(/expect/i);

      const gateway = await rig({ upstream: upstreamOn(await refusingPort()) });
      const refused = await client(gateway);
      refused.write(request);
      await refused.gone();
      expect(refused.received).toMatch(/^HTTP\/1\.1 503 /);
      expect(refused.received).not.toContain("100 Continue");
    });

    it("longer than allowed by its length is 413 and reaches no upstream", async () => {
      const { server, gateway, caller } = await exchange(
        upload,
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\nhello",
        { route: { maxBodyBytes: 10 } as never },
      );
      await caller.gone();
      expect(caller.received).toMatch(/^HTTP\/1\.1 413 /);
      expect(server.connections).toHaveLength(0);
      expect((await gateway.ending()).exchange).toMatchObject({ status: 413, upstream: null });
    });

    it("longer than allowed in chunks is 413, and the upstream never sees it complete", async () => {
      const { server, gateway, caller } = await exchange(() => {}, `${CHUNKED}5\r\nhello\r\n`, {
        route: { maxBodyBytes: 10 } as never,
      });
      const connection = await server.connection(0);
      await connection.seen("hello");
      caller.write("6\r\nworld!\r\n0\r\n\r\n");
      await caller.gone();
      expect(caller.received).toMatch(/^HTTP\/1\.1 413 /);
      await connection.gone();
      expect(connection.received).not.toContain("\r\n0\r\n\r\n");
      expect((await gateway.ending()).exchange.status).toBe(413);
    });

    it("longer than allowed cuts the client off where the answer had begun", async () => {
      const { server, gateway, caller } = await exchange(
        async (connection) => {
          await connection.seen("hello");
          connection.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n");
        },
        `${CHUNKED}5\r\nhello\r\n`,
        { route: { maxBodyBytes: 10 } as never },
      );
      await caller.seen("2\r\nok");
      caller.write("6\r\nworld!\r\n0\r\n\r\n");
      await caller.gone();
      expect(caller.received).not.toContain("\r\n0\r\n\r\n");
      expect((await gateway.ending()).outcome?.kind).toBe("truncated");
      const connection = server.connections[0]!;
      await connection.gone();
    });

    it("streams both ways at once", async () => {
      const { server, caller } = await exchange(async (connection) => {
        await connection.seen("4\r\nping\r\n");
        connection.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npong\r\n");
        await connection.seen("\r\n0\r\n\r\n");
        connection.write("0\r\n\r\n");
      }, `${CHUNKED}4\r\nping\r\n`);
      await caller.seen("4\r\npong\r\n");
      caller.write("3\r\nend\r\n0\r\n\r\n");
      await caller.seen("\r\n0\r\n\r\n");
      expect(server.connections[0]!.received).toContain("3\r\nend\r\n");
    });

    it("is read no more once the upstream has answered early, and is never taken for a request", async () => {
      const early = "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno";
      const { server, gateway, caller } = await exchange(async (connection) => {
        await connection.seen("hello");
        connection.write(early);
      }, `${CHUNKED}5\r\nhello\r\n`);
      await caller.seen("\r\n\r\nno");
      expect(fields(caller.received)).toContain("Connection: close");
      caller.write("5\r\nworld\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n");
      await caller.gone();
      const connection = server.connections[0]!;
      await connection.gone();
      expect(connection.received).not.toContain("world");
      expect(server.connections).toHaveLength(1);
      expect((await gateway.ending()).exchange.status).toBe(403);
      expect(gateway.exchanges).toHaveLength(1);
    });
  });

  describe("retries", () => {
    it("asks another target where one refuses, also for a POST whose body was not read yet", async () => {
      for (const request of [GET, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"]) {
        const server = await upstream(answering(OK));
        const gateway = await rig({ upstream: upstreamOn([await refusingPort(), server.port]) });
        for (let count = 1; count <= 2; count++) {
          const caller = await client(gateway);
          caller.write(request);
          await caller.seen("ok");
          expect((await gateway.ending(count)).exchange.status).toBe(200);
        }
        expect(gateway.over.map(({ retries }) => retries).sort()).toEqual([0, 1]);
        expect(server.heads).toBe(2);
      }
    });

    it("sends a body that was read to another target when nothing of it was sent", async () => {
      const server = await upstream(answering(OK));
      const gateway = await rig({ upstream: upstreamOn([await refusingPort(), server.port]), readBody: true });
      for (let count = 1; count <= 2; count++) {
        const caller = await client(gateway);
        caller.write("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello");
        await caller.seen("ok");
      }
      expect(server.connections.map(({ received }) => received.endsWith("hello"))).not.toContain(false);
    });

    const dyingOnce: Script = (connection) => {
      if (connection.index > 0) return answering(OK)(connection);
      return connection.seen("\r\n\r\n").then(() => reset(connection.socket));
    };

    it.each(["GET", "HEAD", "OPTIONS"])("asks again when a %s died without a word", async (method) => {
      const { server, gateway, caller } = await exchange(dyingOnce, GET.replace("GET", method));
      await caller.seen("HTTP/1.1 200 OK");
      expect((await gateway.ending()).exchange).toMatchObject({ status: 200, retries: 1 });
      expect(server.connections).toHaveLength(2);
    });

    it.each(["POST", "PUT", "PATCH", "DELETE"])("never runs a %s twice", async (method) => {
      const { server, gateway, caller } = await exchange(
        dyingOnce,
        `${method} / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello`,
      );
      await caller.seen("HTTP/1.1 502");
      const { exchange: done } = await gateway.ending();
      expect(done).toMatchObject({ status: 502, retries: 0 });
      expect(server.connections).toHaveLength(1);
    });

    it("never runs a GET twice whose body was read", async () => {
      const { server, caller } = await exchange(
        dyingOnce,
        "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
      );
      await caller.seen("HTTP/1.1 502");
      expect(server.connections).toHaveLength(1);
    });

    it("tries twice, never three times", async () => {
      const { server, gateway, caller } = await exchange((connection) => {
        return connection.seen("\r\n\r\n").then(() => reset(connection.socket));
      }, GET);
      await caller.seen("HTTP/1.1 502");
      expect((await gateway.ending()).exchange.retries).toBe(1);
      expect(server.connections).toHaveLength(2);
    });

    it("does not try again once an answer had begun, nor after a time-out, nor after an answer that is not clean", async () => {
      const scripts: [Script, number][] = [
        [
          (c) => c.seen("\r\n\r\n").then(() => void c.socket.end("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab")),
          200,
        ],
        [() => {}, 504],
        [answering("garbage\r\n\r\n"), 502],
      ];
      for (const [script, status] of scripts) {
        const { server, gateway, caller } = await exchange(script, GET, {
          route: { timeouts: { connectMs: null, responseMs: 60, idleMs: null } } as never,
        });
        const done = await gateway.ending();
        await caller.until(() => caller.received.includes(`HTTP/1.1 ${status}`) || caller.ended || caller.closed);
        expect(done.exchange).toMatchObject({ status, retries: 0 });
        expect(server.heads).toBe(1);
      }
    });

    it("takes a fresh connection for a POST whose pooled one was dead before a byte was sent, else answers 502", async () => {
      const { server, gateway, caller } = await exchange(async (connection) => {
        await connection.seen("\r\n\r\n");
        connection.socket.end(OK);
      }, GET);
      await caller.seen("ok");
      await server.connections[0]!.gone();
      caller.write("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello");
      await caller.seen("ok", 2);
      expect((await gateway.ending(2)).exchange.status).toBe(200);
      expect(server.heads).toBe(2);
    });

    it("never sends a body whose beginning is gone, though nothing of it reached the connection that died", async () => {
      const { server, gateway, caller } = await exchange(answering(OK), GET);
      await caller.seen("ok");
      await gateway.ending();
      const handle = gateway.handle.bind(gateway);
      gateway.handle = (exchange) => {
        handle(exchange);
        // What the body began with is read in this turn of the event loop, and leaves at the end of the next.
        reset(server.connections[0]!.socket);
      };
      caller.write("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello");
      await Promise.race([caller.seen("HTTP/1.1 502"), server.connection(1)]);
      expect(server.connections).toHaveLength(1);
    });
  });

  describe("failures", () => {
    it("a target that refuses is 503", async () => {
      const gateway = await rig({ upstream: upstreamOn(await refusingPort()) });
      const caller = await client(gateway);
      caller.write(GET);
      await caller.seen("X-Fault: sentinel:upstream:service_unavailable");
      const { exchange: done, outcome } = await gateway.ending();
      expect(done).toMatchObject({ status: 503, upstream: "orders", retries: 0 });
      expect(outcome).toMatchObject({
        kind: "fault",
        fault: { cause: expect.stringMatching(/^refused: ECONNREFUSED/) },
      });
    });

    it("a silent one is 504, and its connection is closed", async () => {
      const { server, caller } = await exchange(() => {}, GET, {
        route: { timeouts: { connectMs: null, responseMs: 60, idleMs: null } } as never,
      });
      await caller.seen("X-Fault: sentinel:upstream:gateway_timeout");
      const connection = server.connections[0]!;
      await connection.gone();
    });

    it.each([
      "garbage\r\n\r\n",
      "HTTP/1.1 099 Low\r\nContent-Length: 0\r\n\r\n",
      "HTTP/1.1 200 O\x01K\r\nContent-Length: 0\r\n\r\n",
      "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
      "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
      "HTTP/1.1 200 OK\r\nX-A: \x00\r\nContent-Length: 0\r\n\r\n",
    ])("an answer that is not clean is 502, and the next request is served: %j", async (answer) => {
      const { caller } = await exchange(
        (connection) => answering(connection.index === 0 ? answer : OK)(connection),
        GET,
      );
      await caller.seen("X-Fault: sentinel:upstream:bad_gateway");
      caller.write(GET);
      await caller.seen("\r\n\r\nok");
    });

    it.each([
      ["length", "Content-Length: 100\r\n\r\nabc", "end"],
      ["length", "Content-Length: 100\r\n\r\nabc", "reset"],
      ["chunks", "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", "end"],
      ["chunks", "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", "reset"],
      ["chunks", "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", "broken chunk"],
    ])("a body that ends short destroys the client's connection: %s, %s", async (_, rest, how) => {
      const { server, gateway, caller } = await exchange(async (connection) => {
        await connection.seen("\r\n\r\n");
        connection.write(`HTTP/1.1 200 OK\r\n${rest}`);
        if (how === "end") connection.socket.end();
      }, GET);
      await caller.until(() => caller.received.includes("abc") || caller.ended || caller.closed);
      if (how === "reset") reset(server.connections[0]!.socket);
      if (how === "broken chunk") server.connections[0]!.write("xyz\r\n");
      await caller.gone();
      expect(caller.received).not.toContain("\r\n0\r\n\r\n");
      const { exchange: done, outcome } = await gateway.ending();
      expect(outcome).toMatchObject({ kind: "truncated", fault: { code: "sentinel:upstream:bad_gateway" } });
      expect(done.status).toBe(200);
    });

    it("a body that ends short is a reset to an HTTP/1.0 client, to which an end would look whole", async () => {
      const { server, caller } = await exchange(async (connection) => {
        await connection.seen("\r\n\r\n");
        connection.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
      }, "GET / HTTP/1.0\r\nHost: a\r\n\r\n");
      let code: string | undefined;
      caller.socket.on("error", (error: NodeJS.ErrnoException) => {
        code = error.code;
      });
      await caller.seen("abc");
      server.connections[0]!.socket.end();
      await caller.until(() => caller.closed);
      expect(code).toBe("ECONNRESET");
      expect(caller.ended).toBe(false);
    });

    it("a body that falls silent destroys the client's connection", async () => {
      const { gateway, caller } = await exchange(answering("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"), GET, {
        route: { timeouts: { connectMs: null, responseMs: null, idleMs: 60 } } as never,
      });
      await caller.gone();
      expect((await gateway.ending()).outcome).toMatchObject({
        kind: "truncated",
        fault: { code: "sentinel:upstream:gateway_timeout" },
      });
    });

    it("no healthy target is 503", async () => {
      const server = await upstream();
      const settings = upstreamOn(server.port);
      const gateway = await rig({ upstream: settings });
      gateway.upstreams.find("orders")!.pick = () => null;
      const caller = await client(gateway);
      caller.write(GET);
      await caller.seen("X-Fault: sentinel:upstream:service_unavailable");
      expect(server.connections).toHaveLength(0);
    });
  });

  describe("the client's leaving", () => {
    const phases: Record<string, { request: string; answer: string }> = {
      "before an answer": { request: GET, answer: "" },
      "while it uploads": { request: `${CHUNKED}5\r\nhello\r\n`, answer: "" },
      "within an answer": { request: GET, answer: "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc" },
      "while both stream": {
        request: `${CHUNKED}5\r\nhello\r\n`,
        answer: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
      },
    };

    it.each(Object.entries(phases))("ends the upstream's request: %s", async (_, { request, answer }) => {
      for (const how of ["destroy", "reset"] as const) {
        const { server, gateway, caller } = await exchange(answering(answer), request);
        const connection = await server.connection(0);
        await connection.seen(request === GET ? "\r\n\r\n" : "hello");
        if (answer !== "") await caller.seen("abc");
        if (how === "reset") reset(caller.socket);
        else caller.socket.destroy();
        await connection.gone();
        const { exchange: done, outcome } = await gateway.ending();
        expect(outcome).toBeNull();
        expect(done.retries).toBe(0);
        expect(server.connections).toHaveLength(1);
        expect(connection.received).not.toContain("\r\n0\r\n\r\n");
      }
    });

    it("in the middle of its upload never makes the body look complete", async () => {
      const request = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nhello";
      const { server, caller } = await exchange(() => {}, request);
      const connection = await server.connection(0);
      await connection.seen("hello");
      caller.socket.end();
      await connection.gone();
      expect(server.connections).toHaveLength(1);
    });
  });

  describe("back-pressure", () => {
    const readsNothing: Script = (connection) => {
      connection.socket.pause();
    };

    it("holds an upload back that the upstream does not take, and carries all of it afterwards", async () => {
      const size = 48 * 1024 * 1024;
      const request = `POST / HTTP/1.1\r\nHost: a\r\nContent-Length: ${size}\r\n\r\n`;
      const { server, gateway, caller } = await exchange(readsNothing, request, {
        route: { maxBodyBytes: size } as never,
      });
      caller.socket.write(Buffer.alloc(size, 97));
      const upload = () => gateway.exchanges[0]?.bytesIn ?? 0;
      await standsStill(upload);
      expect(upload()).toBeLessThan(size / 2);
      expect(upload()).toBeGreaterThan(0);
      const connection = server.connections[0]!;
      let taken = 0;
      connection.socket.removeAllListeners("data");
      connection.socket.on("data", (chunk) => {
        taken += chunk.length;
        connection.changed();
      });
      connection.socket.resume();
      await connection.until(() => taken >= size);
      connection.write(OK);
      await caller.seen("ok");
      expect(upload()).toBe(size);
    });

    /** The beginning of an upload, more than an upstream that reads nothing takes, and where it is held back. */
    async function heldBack(idleMs: number) {
      const size = 24 * 1024 * 1024;
      const timeouts = { connectMs: null, responseMs: null, idleMs };
      const request = `POST / HTTP/1.1\r\nHost: a\r\nContent-Length: ${2 * size}\r\n\r\n`;
      const { server, gateway, caller } = await exchange(readsNothing, request, {
        route: { maxBodyBytes: 2 * size, timeouts } as never,
      });
      caller.socket.write(Buffer.alloc(size, 97));
      const isPaused = () => gateway.exchanges[0]?.client.body.paused === true;
      while (!isPaused()) await new Promise((turn) => setImmediate(turn));
      return { server, caller };
    }

    it("does not blame the client for an upload that the upstream does not take", async () => {
      const { caller } = await heldBack(150);
      await caller.seen("HTTP/1.1 504");
      expect(caller.received).toContain("X-Fault: sentinel:upstream:gateway_timeout");
    });

    it("ends a client that sends nothing once its upload is no longer held back", async () => {
      const { server, caller } = await heldBack(1000);
      server.connections[0]!.socket.removeAllListeners("data").resume();
      await caller.seen("HTTP/1.1 408");
      expect(caller.received).toContain("X-Fault: user:bad_request:request_timeout");
    });

    it("reads an upload on that was held back, and throws it away, once the upstream has answered without it", async () => {
      const size = 24 * 1024 * 1024;
      const { server, gateway, caller } = await exchange(readsNothing, `${CHUNKED}${size.toString(16)}\r\n`, {
        route: { maxBodyBytes: size } as never,
      });
      const sent = new Promise((done) => caller.socket.write(Buffer.alloc(size, 97), done));
      await standsStill(() => gateway.exchanges[0]?.bytesIn ?? 0);
      server.connections[0]!.write("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno");
      // A client that sends all of it before it reads.
      expect(await sent).toBeFalsy();
      await caller.seen("HTTP/1.1 403 Forbidden");
    });

    it("holds an answer back that the client does not take, and carries all of it afterwards", async () => {
      const size = 48 * 1024 * 1024;
      const server = await upstream(async (connection) => {
        await connection.seen("\r\n\r\n");
        connection.write(`HTTP/1.1 200 OK\r\nContent-Length: ${size}\r\n\r\n`);
        connection.socket.write(Buffer.alloc(size, 98));
      });
      const gateway = await rig({ upstream: upstreamOn(server.port) });
      const caller = await client(gateway);
      caller.socket.removeAllListeners("data");
      caller.socket.pause();
      caller.write(GET);
      const download = () => gateway.exchanges[0]?.bytesOut ?? 0;
      await standsStill(download);
      expect(download()).toBeLessThan(size / 2);
      expect(download()).toBeGreaterThan(0);
      let taken = 0;
      caller.socket.on("data", (chunk) => {
        taken += chunk.length;
        caller.changed();
      });
      caller.socket.resume();
      await caller.until(() => taken > size);
      expect((await gateway.ending()).outcome).toEqual({ kind: "answered" });
    });

    it("ends a client that takes nothing, and one that sends nothing, after the idle time", async () => {
      const size = 48 * 1024 * 1024;
      const idle = { timeouts: { connectMs: null, responseMs: null, idleMs: 150 } } as never;
      const deaf = await exchange(
        async (connection) => {
          await connection.seen("\r\n\r\n");
          connection.write(`HTTP/1.1 200 OK\r\nContent-Length: ${size}\r\n\r\n`);
          connection.socket.write(Buffer.alloc(size, 98));
        },
        "",
        { route: idle },
      );
      deaf.caller.socket.pause();
      deaf.caller.write(GET);
      const { exchange: done, outcome } = await deaf.gateway.ending();
      expect(done.status).toBe(200);
      expect(outcome?.kind).toBe("truncated");

      const mute = await exchange(() => {}, `${CHUNKED}5\r\nhello\r\n`, { route: idle });
      await mute.caller.seen("HTTP/1.1 408");
      expect(mute.caller.received).toContain("X-Fault: user:bad_request:request_timeout");
      const connection = mute.server.connections[0]!;
      await connection.gone();
    });

    it.each([
      ["that leaves in one write", OK, "plain", GET],
      ["that leaves in one write", OK, "Node's", GET.replace("Host", "TE: trailers\r\nHost")],
      ["that leaves in pieces", CHUNKED_OK, "plain", GET],
      ["that leaves in pieces", CHUNKED_OK, "Node's", GET.replace("Host", "TE: trailers\r\nHost")],
    ])(
      "ends a client that does not take an answer %s, whole here as it is (%s, %s)",
      async (_, answer, _way, request) => {
        const { server, gateway, caller } = await exchange(() => {}, request, {
          route: { timeouts: { connectMs: null, responseMs: null, idleMs: 150 } } as never,
        });
        const connection = await server.connection(0);
        await connection.seen("\r\n\r\n");
        holdWrites(gateway.exchanges[0]!.socket);
        connection.write(answer);
        await caller.gone();
        expect(caller.received).toBe("");
        expect((await gateway.ending()).outcome).toEqual({ kind: "answered" });
      },
    );
  });
});

/** Waits until a number that has begun to grow does not any more: two looks apart find the same. */
async function standsStill(value: () => number): Promise<void> {
  for (let before = -1; before !== value() || before === 0; ) {
    before = value();
    await new Promise((passed) => setTimeout(passed, 60));
  }
}
