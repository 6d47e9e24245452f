import { readFileSync } from "node:fs";
import { createServer as createTlsServer, type TLSSocket } from "node:tls";
import { afterEach, beforeEach, describe, expect, it, onTestFinished, vi } from "vitest";
import type { EngineOptions, UpstreamEngine, UpstreamOrigin, UpstreamRequest } from "../../src/forward/forwarder.ts";
import {
  answering,
  RawConnection,
  type RawServer,
  RecordingHandler,
  rawServer,
  refusingPort,
  reset,
  rested,
  type Script,
  upstreamRequest,
} from "./support.ts";

const OK = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/**
 * What every engine owes the seam in `forwarder.ts`, over real sockets against upstreams that speak raw bytes. Each
 * engine's test file runs it.
 */
export function describeEngine(name: string, createEngine: (options?: EngineOptions) => UpstreamEngine): void {
  describe(name, () => {
    let engine: UpstreamEngine;
    const servers: { close(): void }[] = [];

    beforeEach(() => {
      engine = createEngine();
    });

    afterEach(() => {
      engine.close();
      for (const server of servers.splice(0)) server.close();
    });

    async function upstream(script?: Script): Promise<RawServer> {
      const server = await rawServer(script);
      servers.push(server);
      return server;
    }

    function send(origin: UpstreamOrigin, changes: Partial<UpstreamRequest> = {}) {
      const handler = new RecordingHandler();
      const call = engine.send(upstreamRequest(origin, changes), handler);
      expect(handler.calls, "called back from within send").toEqual([]);
      return { handler, call };
    }

    /** Sends a GET and waits for its end. */
    async function get(origin: UpstreamOrigin, changes: Partial<UpstreamRequest> = {}): Promise<RecordingHandler> {
      return send(origin, changes).handler.finished();
    }

    /** Sends the head of a POST whose body, of so many bytes or chunked, is to come. */
    function post(origin: UpstreamOrigin, body: number | "chunked", changes: Partial<UpstreamRequest> = {}) {
      const framing = body === "chunked" ? ["Transfer-Encoding", body] : ["Content-Length", String(body)];
      const headers = ["Host", "a", ...framing];
      return send(origin, { method: "POST", headers, body: body === "chunked" ? body : "length", ...changes });
    }

    /** The first request that a connection was sent. */
    async function firstHead(server: RawServer): Promise<string> {
      const connection = await server.connection(0);
      await connection.seen("\r\n\r\n");
      return connection.received;
    }

    describe("what goes on the wire", () => {
      it("sends the head as it was given: order, case, repeats and bytes above 127", async () => {
        const server = await upstream(answering(OK));
        const headers = ["hOST", "a.example", "X-Two", "1", "x-two", "2", "X-Latin", "caf\xe9", "Accept", "*/*"];
        await get(server.origin, { path: "/a%2Fb?q=%zz", headers });
        const head = (await firstHead(server)).replace("Connection: keep-alive\r\n", "");
        expect(head).toBe(
          "GET /a%2Fb?q=%zz HTTP/1.1\r\nhOST: a.example\r\nX-Two: 1\r\nx-two: 2\r\nX-Latin: caf\xe9\r\nAccept: */*\r\n\r\n",
        );
      });

      it("adds no framing to a request without a body, whatever its method", async () => {
        for (const method of ["GET", "HEAD", "DELETE", "OPTIONS"]) {
          const server = await upstream(answering("HTTP/1.1 204 No Content\r\n\r\n"));
          await get(server.origin, { method });
          expect((await firstHead(server)).toLowerCase()).not.toMatch(/content-length|transfer-encoding/);
        }
      });

      it("sends a body of known length as it is written", async () => {
        const server = await upstream(async (connection) => {
          await connection.seen("hello world");
          connection.write(OK);
        });
        const { handler, call } = post(server.origin, 11);
        await handler.called("drain");
        call.write(Buffer.from("hello "));
        call.write(Buffer.from("world"));
        call.end();
        await handler.finished();
        expect(handler.body).toBe("ok");
        expect(server.connections[0]!.received).toMatch(/\r\n\r\nhello world$/);
      });

      it.each([
        ["short", 5],
        ["longer than goes in one piece", 200_000],
      ])("sends a whole body with its head, over a new connection and a used one: one that is %s", async (_, bytes) => {
        const content = Buffer.from(Array.from({ length: bytes }, (_, at) => at & 0xff));
        content.write("<end>", bytes - 5);
        const server = await upstream(async (connection) => {
          for (let count = 1; count <= 2; count++) {
            await connection.seen("<end>", count);
            connection.write(OK);
          }
        });
        const headers = ["Host", "a", "Content-Length", String(bytes)];
        for (let count = 0; count < 2; count++) {
          const { handler } = send(server.origin, { method: "POST", headers, body: "length", content });
          await handler.finished();
          expect(handler.body).toBe("ok");
          // Nobody is asked for a body that is here.
          expect(handler.count("drain")).toBe(0);
          await rested();
        }
        expect(server.connections).toHaveLength(1);
        const sent = `POST / HTTP/1.1\r\nHost: a\r\nContent-Length: ${bytes}\r\n`;
        const received = server.connections[0]!.received.replaceAll(/Connection: keep-alive\r\n/gi, "");
        expect(received).toBe(`${sent}\r\n${content.toString("latin1")}`.repeat(2));
      });

      it("keeps what is written before there is a connection", async () => {
        const server = await upstream(async (connection) => {
          await connection.seen("hello");
          connection.write(OK);
        });
        const { handler, call } = post(server.origin, 5);
        call.write(Buffer.from("hello"));
        call.end();
        await handler.finished();
        expect(handler.status).toBe(200);
        expect(server.connections[0]!.received).toMatch(/\r\n\r\nhello$/);
      });

      it.each(["POST", "GET", "DELETE", "OPTIONS"])("chunks the body of a %s that says so", async (method) => {
        const server = await upstream(async (connection) => {
          await connection.seen("\r\n0\r\n\r\n");
          connection.write(OK);
        });
        const { handler, call } = post(server.origin, "chunked", { method });
        await handler.called("drain");
        call.write(Buffer.from("GET /smuggled HTTP/1.1\r\n\r\n"));
        call.end();
        await handler.finished();
        expect(handler.body).toBe("ok");
        expect(server.connections[0]!.received).toMatch(
          /\r\n\r\n1a\r\nGET \/smuggled HTTP\/1\.1\r\n\r\n\r\n0\r\n\r\n$/i,
        );
      });

      it("ends a chunked body that turned out empty", async () => {
        const server = await upstream(async (connection) => {
          await connection.seen("\r\n\r\n0\r\n\r\n");
          connection.write(OK);
        });
        const { handler, call } = post(server.origin, "chunked");
        await handler.called("drain");
        call.end();
        expect((await handler.finished()).status).toBe(200);
      });

      it("says when the body may be written: once connected, never to a target that refuses", async () => {
        const server = await upstream(answering(OK));
        const headers = ["Host", "a", "Content-Length", "1"];
        const { handler, call } = send(server.origin, { method: "POST", headers, body: "length" });
        await handler.called("drain");
        expect(handler.count("drain")).toBe(1);
        call.write(Buffer.from("x"));
        call.end();
        await handler.finished();
        // A pooled socket is as good.
        const again = send(server.origin, { method: "POST", headers, body: "length" });
        await again.handler.called("drain");
        again.call.abort();

        const nobody = { hostname: "127.0.0.1", port: await refusingPort(), tls: null };
        const refused = send(nobody, { method: "POST", headers, body: "length" }).handler;
        await refused.finished();
        expect(refused.calls).toEqual(["error"]);
      });
    });

    describe("connections", () => {
      it("uses a connection again", async () => {
        const server = await upstream(answering(OK));
        await get(server.origin);
        await rested();
        await get(server.origin);
        expect(server.connections).toHaveLength(1);
      });

      it("does not share a connection between origins that are not the very same object", async () => {
        const server = await upstream(answering(OK));
        await get(server.origin);
        await get({ ...server.origin });
        expect(server.connections).toHaveLength(2);
      });

      it("opens a connection of its own when asked to", async () => {
        const server = await upstream(answering(OK));
        await get(server.origin);
        await get(server.origin, { freshSocket: true });
        expect(server.connections).toHaveLength(2);
      });

      it.each([
        ["says Connection: close", "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"],
        ["says close among others", "HTTP/1.1 200 OK\r\nConnection: x, Close\r\nContent-Length: 2\r\n\r\nok"],
        ["is HTTP/1.0", "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok"],
      ])("does not use a connection again whose answer %s", async (_, answer) => {
        const server = await upstream(answering(answer));
        expect((await get(server.origin)).body).toBe("ok");
        await get(server.origin);
        expect(server.connections).toHaveLength(2);
        await server.connections[0]!.gone();
      });

      it("opens a new one where the upstream has closed the pooled one", async () => {
        const server = await upstream(async (connection) => {
          await connection.seen("\r\n\r\n");
          connection.socket.end(OK);
        });
        await get(server.origin);
        await server.connections[0]!.gone();
        expect((await get(server.origin)).body).toBe("ok");
        expect(server.connections).toHaveLength(2);
      });

      it("closes idle connections of a forgotten origin, and others of it once they are idle", async () => {
        const server = await upstream(async (connection) => {
          await connection.seen("\r\n\r\n");
          if (connection.index === 0) return connection.write(OK);
        });
        await get(server.origin);
        const running = send(server.origin, { freshSocket: true });
        const second = await server.connection(1);
        await second.seen("\r\n\r\n");
        engine.forget(server.origin);
        const first = await server.connection(0);
        await first.gone();
        second.write(OK);
        expect((await running.handler.finished()).body).toBe("ok");
        await second.gone();
      });

      it("closes every socket at the end, running exchanges included", async () => {
        const server = await upstream();
        const { handler } = send(server.origin);
        const connection = await server.connection(0);
        await connection.seen("\r\n\r\n");
        engine.close();
        await connection.gone();
        await handler.finished();
        expect(handler.error?.reason).toBe("reset");
      });

      it("does not keep a connection beyond its age", async () => {
        engine.close();
        engine = createEngine({ maxSocketAgeMs: 0 });
        const server = await upstream(answering(OK));
        await get(server.origin);
        await get(server.origin);
        expect(server.connections).toHaveLength(2);
      });

      it("closes an idle connection after its time", async () => {
        engine.close();
        engine = createEngine({ idleSocketMs: 20, longIdleSocketMs: 20 });
        const server = await upstream(answering(OK));
        await get(server.origin);
        const connection = await server.connection(0);
        await connection.gone();
      });
    });

    describe("answers", () => {
      it("hands on status, reason, raw fields and body", async () => {
        const server = await upstream(
          answering(
            "HTTP/1.1 418 I'm a caf\xe9\r\nSet-Cookie: a=1\r\nset-COOKIE: b=\xe9\r\nContent-Length: 3\r\n\r\nabc",
          ),
        );
        const answer = await get(server.origin);
        expect(answer.calls).toEqual(["head", "body", "end"]);
        expect([answer.status, answer.reason]).toEqual([418, "I'm a caf\xe9"]);
        expect(answer.headers).toEqual(["Set-Cookie", "a=1", "set-COOKIE", "b=\xe9", "Content-Length", "3"]);
        expect(answer.bodyless).toBe(false);
        expect(answer.body).toBe("abc");
        expect(answer.trailers).toEqual([]);
      });

      const whole = {
        length: "HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nhello world",
        chunked:
          "HTTP/1.1 200 OK\r\ntransfer-encoding: CHUNKED\r\n\r\n6;a=b\r\nhello \r\n5\r\nworld\r\n0\r\nX-T: 1\r\n\r\n",
        interim: `HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nhello world`,
      };
      it.each(Object.entries(whole))("reads a %s answer that comes byte by byte", async (_, answer) => {
        const server = await upstream(async (connection) => {
          await connection.seen("\r\n\r\n");
          connection.socket.setNoDelay(true);
          for (const byte of answer) {
            connection.write(byte);
            await new Promise((turn) => setImmediate(turn));
          }
        });
        const got = await get(server.origin);
        expect([got.status, got.body, got.error]).toEqual([200, "hello world", null]);
      });

      it("hands on trailers", async () => {
        const server = await upstream(answering(whole.chunked));
        expect((await get(server.origin)).trailers).toEqual(["X-T", "1"]);
        await rested();
        expect((await get(server.origin)).trailers).toEqual(["X-T", "1"]);
        expect(server.connections).toHaveLength(1);
      });

      it("reads a body without a length to the end of the connection", async () => {
        const server = await upstream(async (connection) => {
          await connection.seen("\r\n\r\n");
          connection.socket.end("HTTP/1.1 200 OK\r\n\r\nall there is");
        });
        const answer = await get(server.origin);
        expect([answer.body, answer.error, answer.bodyless]).toEqual(["all there is", null, false]);
      });

      it.each([
        ["HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"],
        ["HEAD", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"],
        ["GET", "HTTP/1.1 204 No Content\r\n\r\n"],
        ["GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n"],
        ["GET", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"],
      ])("knows that no body follows: %s, %j", async (method, answer) => {
        const server = await upstream(answering(answer));
        const first = await get(server.origin, { method });
        expect([first.bodyless, first.body, first.error]).toEqual([true, "", null]);
        expect(first.calls).toEqual(["head", "end"]);
        expect((await get(server.origin, { method })).error).toBeNull();
      });

      it.each([
        ["HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"],
        ["GET", "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello"],
        ["GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\nhello"],
      ])("never takes a body that should not be there for the next answer: %s, %j", async (method, answer) => {
        const server = await upstream((connection) => answering(connection.index === 0 ? answer : OK)(connection));
        const first = await get(server.origin, { method });
        expect([first.bodyless, first.body]).toEqual([true, ""]);
        const next = await get(server.origin);
        expect([next.status, next.body, next.error?.reason]).toEqual([200, "ok", undefined]);
        expect(server.connections).toHaveLength(2);
      });

      it("never gives a later request an answer that nobody asked for", async () => {
        const stray = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nstray";
        const server = await upstream(async (connection) => {
          await connection.seen("\r\n\r\n");
          if (connection.index === 0) connection.write(OK + stray);
          else if (connection.index === 1) {
            connection.write(OK);
            setImmediate(() => connection.write(stray));
          } else answering(OK)(connection);
        });
        for (let request = 0; request < 4; request++) {
          const answer = await get(server.origin);
          // What came while the connection was idle may cost the request its socket, never its truth.
          if (answer.error === null) expect(answer.body).toBe("ok");
          else expect(answer.error).toMatchObject({ reusedSocket: true, answerBegun: false });
          for (let turn = 0; turn < 5; turn++) await new Promise((done) => setImmediate(done));
        }
      });

      it("hands on interim answers, eight at most", async () => {
        const interim = "HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n";
        const eight = await upstream(answering(interim.repeat(8) + OK));
        const answer = await get(eight.origin);
        expect(answer.interims).toHaveLength(8);
        expect(answer.interims[0]).toEqual({ status: 103, headers: ["Link", "</style.css>"] });
        expect(answer.body).toBe("ok");

        const nine = await upstream(answering(interim.repeat(9) + OK));
        const refused = await get(nine.origin);
        expect(refused.error?.reason).toBe("invalid_response");
        expect(refused.count("head")).toBe(0);
        await nine.connections[0]!.gone();
      });

      it("takes a 100 nobody asked for as interim", async () => {
        const server = await upstream(answering(`HTTP/1.1 100 Continue\r\n\r\n${OK}`));
        const answer = await get(server.origin);
        expect(answer.interims).toEqual([{ status: 100, headers: [] }]);
        expect(answer.body).toBe("ok");
      });
    });

    describe("answers that are not clean HTTP", () => {
      const body = "\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
      const unclean: Record<string, string> = {
        "a 101 nobody asked for": "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n",
        "a 101 without Upgrade": "HTTP/1.1 101 Switching Protocols\r\n\r\n",
        "status 099": "HTTP/1.1 099 Low\r\nContent-Length: 0\r\n\r\n",
        "status 600": "HTTP/1.1 600 High\r\nContent-Length: 0\r\n\r\n",
        "status 1000": "HTTP/1.1 1000 Long\r\nContent-Length: 0\r\n\r\n",
        "a status that is no number": "HTTP/1.1 abc OK\r\nContent-Length: 0\r\n\r\n",
        "another version": "HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
        garbage: "garbage\r\n\r\n",
        "an SMTP banner": "220 mail.example ESMTP\r\n",
        "a TLS record": "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        "length and transfer coding": `HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked${body}`,
        "transfer coding and length": `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5${body}`,
        "two lengths": "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        "one length twice": "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
        "a list of lengths": "HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\nhello",
        "a signed length": "HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nhello",
        "a hexadecimal length": "HTTP/1.1 200 OK\r\nContent-Length: 0x5\r\n\r\nhello",
        "an empty length": "HTTP/1.1 200 OK\r\nContent-Length: \r\n\r\nhello",
        "a length of 25 digits": `HTTP/1.1 200 OK\r\nContent-Length: ${"9".repeat(25)}\r\n\r\nhello`,
        "an unknown transfer coding": `HTTP/1.1 200 OK\r\nTransfer-Encoding: foo${body}`,
        "gzip before chunked": `HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked${body}`,
        "gzip after chunked": `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, gzip${body}`,
        "chunked twice": `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked${body}`,
        "chunked in two fields": `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked${body}`,
        "chunked on HTTP/1.0": `HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked${body}`,
        "a folded line": "HTTP/1.1 200 OK\r\nX-A: 1\r\n  2\r\nContent-Length: 0\r\n\r\n",
        "a space before the colon": "HTTP/1.1 200 OK\r\nX-A : 1\r\nContent-Length: 0\r\n\r\n",
        "a line without a colon": "HTTP/1.1 200 OK\r\nX-A\r\nContent-Length: 0\r\n\r\n",
        "an empty name": "HTTP/1.1 200 OK\r\n: 1\r\nContent-Length: 0\r\n\r\n",
        "a name with a space": "HTTP/1.1 200 OK\r\nX A: 1\r\nContent-Length: 0\r\n\r\n",
        "a NUL in a value": "HTTP/1.1 200 OK\r\nX-A: a\x00b\r\nContent-Length: 0\r\n\r\n",
        "a control character in a value": "HTTP/1.1 200 OK\r\nX-A: a\x01b\r\nContent-Length: 0\r\n\r\n",
        "a bare CR in a value": "HTTP/1.1 200 OK\r\nX-A: a\rb\r\nContent-Length: 0\r\n\r\n",
        "bare LF line ends": "HTTP/1.1 200 OK\nContent-Length: 0\n\n",
        "a bare LF between fields": "HTTP/1.1 200 OK\r\nX-A: 1\nX-B: 2\r\nContent-Length: 0\r\n\r\n",
        "a control character in the reason": "HTTP/1.1 200 O\x01K\r\nContent-Length: 0\r\n\r\n",
        "a header block of 1 MiB": `HTTP/1.1 200 OK\r\n${`X-A: ${"a".repeat(1000)}\r\n`.repeat(1024)}\r\n`,
        "a line of 100 KiB": `HTTP/1.1 200 OK\r\nX-A: ${"a".repeat(100 * 1024)}\r\nContent-Length: 0\r\n\r\n`,
        "5000 fields": `HTTP/1.1 200 OK\r\n${"a:b\r\n".repeat(5000)}Content-Length: 0\r\n\r\n`,
        "a length hidden behind 2500 fields": `HTTP/1.1 200 OK\r\n${"a:b\r\n".repeat(2500)}Content-Length: 0\r\n\r\n`,
      };

      it.each(Object.entries(unclean))("refuses %s", async (_, answer) => {
        const server = await upstream(async (connection) => {
          await connection.seen("\r\n\r\n");
          connection.socket.end(Buffer.from(answer, "latin1"));
        });
        const got = await get(server.origin);
        expect(got.error?.reason).toBe("invalid_response");
        expect(got.error?.nothingSent).toBe(false);
        expect(got.calls).toEqual(["error"]);
        const connection = server.connections[0]!;
        await connection.gone();
        expect(got.calls, "nothing after the error").toEqual(["error"]);
      });

      it.each([
        ["a chunk size that is none", "5x\r\nhello\r\n0\r\n\r\n"],
        ["a negative chunk size", "-5\r\nhello\r\n0\r\n\r\n"],
        ["a chunk size of 17 digits", "00000000000000005\r\nhello\r\n0\r\n\r\n".replace(/^0/, "1")],
        ["no line end behind a chunk", "5\r\nhello0\r\n\r\n"],
        ["a chunk longer than its size", "5\r\nhello!\r\n0\r\n\r\n"],
      ])("breaks a body off that has %s", async (_, chunks) => {
        const server = await upstream(
          answering(`HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n${chunks}`),
        );
        const got = await get(server.origin);
        expect(got.error).toMatchObject({ reason: "invalid_response", answerBegun: true });
        expect(got.trailers).toBeNull();
      });
    });

    describe("failures", () => {
      it("a target that refuses", async () => {
        const got = await get({ hostname: "127.0.0.1", port: await refusingPort(), tls: null });
        expect(got.error).toMatchObject({
          reason: "refused",
          nothingSent: true,
          reusedSocket: false,
          answerBegun: false,
        });
        expect(got.error?.detail).toMatch(/ECONNREFUSED/);
      });

      it("a name that is not found", async () => {
        const got = await get({ hostname: "no-such-host.invalid", port: 80, tls: null }, { connectMs: 20_000 });
        expect(got.error).toMatchObject({ reason: "refused", nothingSent: true });
      });

      it.each(["end", "reset"] as const)("a connection that is ended before an answer: %s", async (how) => {
        const server = await upstream(async (connection) => {
          await connection.seen("\r\n\r\n");
          if (how === "end") connection.socket.end();
          else reset(connection.socket);
        });
        const got = await get(server.origin);
        expect(got.error).toMatchObject({
          reason: "reset",
          nothingSent: false,
          reusedSocket: false,
          answerBegun: false,
        });
      });

      it("a head that breaks off", async () => {
        const server = await upstream(async (connection) => {
          await connection.seen("\r\n\r\n");
          connection.socket.end("HTTP/1.1 200 OK\r\nContent-Le");
        });
        const got = await get(server.origin);
        expect(got.calls).toEqual(["error"]);
        expect(["reset", "invalid_response"]).toContain(got.error?.reason);
      });

      it("a pooled connection that turns out dead", async () => {
        const server = await upstream(async (connection) => {
          await connection.seen("\r\n\r\n");
          connection.write(OK);
          await connection.seen("\r\n\r\n", 2);
          reset(connection.socket);
        });
        await get(server.origin);
        await rested();
        const got = await get(server.origin);
        expect(got.error).toMatchObject({
          reason: "reset",
          reusedSocket: true,
          nothingSent: false,
          answerBegun: false,
        });
      });

      it.each([
        ["length, end", "Content-Length: 100\r\n\r\nabc", "end"],
        ["length, reset", "Content-Length: 100\r\n\r\nabc", "reset"],
        ["chunked, end", "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", "end"],
        ["chunked within a chunk, end", "Transfer-Encoding: chunked\r\n\r\n5\r\nabc", "end"],
        ["chunked without its last chunk's end, end", "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n", "end"],
        ["chunked, reset", "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", "reset"],
      ])("a body that ends short: %s", async (_, rest, how) => {
        const server = await upstream(async (connection) => {
          await connection.seen("\r\n\r\n");
          connection.write(`HTTP/1.1 200 OK\r\n${rest}`);
          if (how === "end") connection.socket.end();
        });
        const { handler } = send(server.origin);
        await handler.called("body");
        if (how === "reset") reset(server.connections[0]!.socket);
        await handler.finished();
        expect(handler.trailers, "never complete").toBeNull();
        expect(handler.error).toMatchObject({ reason: "reset", answerBegun: true, nothingSent: false });
      });
    });

    describe("time-outs", () => {
      it("ends a connection attempt that takes too long, TLS included", async () => {
        // Accepts, and never says a word of TLS.
        const server = await upstream();
        const tls = { ca: null, cert: null, key: null, serverName: "upstream.test" };
        const got = await get({ ...server.origin, tls }, { connectMs: 30 });
        expect(got.error).toMatchObject({ reason: "connect_timeout", nothingSent: true });
        const connection = await server.connection(0);
        await connection.gone();
      });

      it("ends an exchange whose answer does not begin", async () => {
        const server = await upstream();
        const got = await get(server.origin, { responseMs: 30 });
        expect(got.error).toMatchObject({ reason: "response_timeout", nothingSent: false, answerBegun: false });
        const connection = await server.connection(0);
        await connection.gone();
      });

      it("ends an exchange whose head comes and whose body does not", async () => {
        const server = await upstream(answering("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"));
        const got = await get(server.origin, { responseMs: 50 });
        expect(got.calls).toEqual(["head", "error"]);
        expect(got.error).toMatchObject({ reason: "response_timeout", answerBegun: true });
      });

      it("is not stopped by interim answers", async () => {
        const server = await upstream(answering("HTTP/1.1 103 Early Hints\r\n\r\n"));
        const got = await get(server.origin, { responseMs: 50 });
        expect(got.calls).toEqual(["interim", "error"]);
        expect(got.error).toMatchObject({ reason: "response_timeout", answerBegun: false });
      });

      it("does not cut a body that has begun", async () => {
        const server = await upstream(async (connection) => {
          await connection.seen("\r\n\r\n");
          connection.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\na");
          setTimeout(() => connection.write("b"), 120);
        });
        const got = await get(server.origin, { responseMs: 60, idleMs: 5000 });
        expect([got.body, got.error]).toEqual(["ab", null]);
      });

      it("counts the response time from the end of an upload", async () => {
        const server = await upstream(async (connection) => {
          await connection.seen("\r\n0\r\n\r\n");
          connection.write(OK);
        });
        const { handler, call } = post(server.origin, "chunked", { responseMs: 60 });
        await handler.called("drain");
        call.write(Buffer.from("slow"));
        await new Promise((passed) => setTimeout(passed, 120));
        call.end();
        expect((await handler.finished()).status).toBe(200);
      });

      it("ends a body that falls silent", async () => {
        const server = await upstream(answering("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab"));
        const got = await get(server.origin, { idleMs: 40 });
        expect(got.error).toMatchObject({ reason: "idle_timeout", answerBegun: true });
        const connection = await server.connection(0);
        await connection.gone();
      });

      it("does not count as silence what was held back here", async () => {
        const server = await upstream(async (connection) => {
          await connection.seen("\r\n\r\n");
          connection.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\na");
        });
        // One engine counts in ticks, the other has a timer for each request.
        vi.useFakeTimers({ toFake: ["setInterval", "clearInterval", "setTimeout", "clearTimeout"] });
        onTestFinished(() => void vi.useRealTimers());
        const { handler, call } = send(server.origin, { idleMs: 60 });
        await handler.called("body");
        call.pause();
        vi.advanceTimersByTime(1000);
        expect(handler.error).toBeNull();
        call.resume();
        server.connections[0]!.write("b");
        expect((await handler.finished()).body).toBe("ab");
      });

      it("ends an upload that the upstream does not take", async () => {
        const server = await upstream((connection) => {
          connection.socket.pause();
        });
        const { handler, call } = post(server.origin, "chunked", { idleMs: 100 });
        await handler.called("drain");
        const chunk = Buffer.alloc(64 * 1024);
        let written = 0;
        // Writes while it is told to, as forward.ts does, and gives up at far more than any kernel buffer.
        for (let drains = 1; handler.error === null && written < 4096; ) {
          if (call.write(chunk) !== "full") written++;
          else {
            drains++;
            await handler.until(() => handler.count("drain") >= drains || handler.error !== null);
          }
        }
        expect(handler.error?.reason).toBe("idle_timeout");
      });

      it("means no limit by 0", async () => {
        const server = await upstream(async (connection) => {
          await connection.seen("\r\n\r\n");
          setTimeout(() => connection.write(OK), 30);
        });
        const got = await get(server.origin, { connectMs: 0, responseMs: 0, idleMs: 0 });
        expect(got.body).toBe("ok");
      });
    });

    describe("streaming", () => {
      it("reads no more than it can hold while it is paused, and all of it afterwards", async () => {
        const size = 32 * 1024 * 1024;
        let taken = 0;
        const server = await upstream(async (connection) => {
          await connection.seen("\r\n\r\n");
          connection.write(`HTTP/1.1 200 OK\r\nContent-Length: ${size}\r\n\r\n`);
          const chunk = Buffer.alloc(64 * 1024, 1);
          for (let sent = 0; sent < size; sent += chunk.length) {
            if (!connection.socket.write(chunk)) {
              server.changed();
              await new Promise((drained) => connection.socket.once("drain", drained));
            }
            taken = sent + chunk.length;
          }
        });
        const { handler, call } = send(server.origin, { idleMs: 20_000 });
        handler.keepBody = false;
        await handler.called("body");
        call.pause();
        const pausedAt = handler.bodyBytes;
        // The upstream is stuck once two looks apart find it at the same byte.
        for (let before = -1; before !== taken; ) {
          before = taken;
          await new Promise((passed) => setTimeout(passed, 50));
        }
        expect(handler.bodyBytes - pausedAt).toBeLessThan(256 * 1024);
        expect(taken).toBeLessThan(size / 2);
        call.resume();
        await handler.finished();
        expect([handler.bodyBytes, handler.error]).toEqual([size, null]);
      });

      it("says when the upstream takes no more, and when it does again", async () => {
        const server = await upstream((connection) => {
          connection.socket.pause();
        });
        const { handler, call } = post(server.origin, "chunked");
        await handler.called("drain");
        const chunk = Buffer.alloc(64 * 1024);
        let written = 0;
        while (call.write(chunk) !== "full" && written < 4096) {
          written++;
          await new Promise((turn) => setImmediate(turn));
        }
        expect(written).toBeLessThan(4096);
        const drains = handler.count("drain");
        server.connections[0]!.socket.resume();
        await handler.called("drain", drains + 1);
        call.end();
        await server.connections[0]!.seen("\r\n0\r\n\r\n");
        server.connections[0]!.write(OK);
        expect((await handler.finished()).body).toBe("ok");
      });

      it("streams both ways at once", async () => {
        const server = await upstream(async (connection) => {
          await connection.seen("ping");
          connection.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npong\r\n");
          await connection.seen("\r\n0\r\n\r\n");
          connection.write("0\r\n\r\n");
        });
        const { handler, call } = post(server.origin, "chunked");
        await handler.called("drain");
        call.write(Buffer.from("ping"));
        await handler.called("body");
        expect(handler.body).toBe("pong");
        call.end();
        expect((await handler.finished()).error).toBeNull();
      });

      it("hands on an answer that comes before the request is complete, and does not use the connection again", async () => {
        const server = await upstream(async (connection) => {
          await connection.seen("\r\n\r\n");
          connection.write("HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\n\r\nno");
        });
        const { handler, call } = post(server.origin, 1000);
        await handler.called("drain");
        call.write(Buffer.from("part"));
        await handler.finished();
        expect([handler.status, handler.body, handler.error]).toEqual([413, "no", null]);
        const connection = server.connections[0]!;
        await connection.gone();
        call.write(Buffer.from("late"));
        call.end();
        await get(server.origin, { responseMs: 2000 });
        expect(server.connections).toHaveLength(2);
      });
    });

    describe("abort", () => {
      it("destroys the socket at any moment, and calls back no more", async () => {
        const answers = [
          "",
          "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
          "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab",
        ];
        for (const answer of answers) {
          const server = await upstream(answering(answer));
          const { handler, call } = send(server.origin);
          const connection = await server.connection(0);
          await connection.seen("\r\n\r\n");
          if (answer.endsWith("ab")) await handler.called("body");
          else if (answer !== "") await handler.called("head");
          const before = [...handler.calls];
          call.abort();
          await connection.gone();
          await new Promise((turn) => setImmediate(turn));
          expect(handler.calls).toEqual(before);
        }
      });

      it("is possible at once, and after the end", async () => {
        const server = await upstream(answering(OK));
        const { handler, call } = send(server.origin);
        call.abort();
        call.abort();
        call.write(Buffer.from("x"));
        call.end();
        call.pause();
        call.resume();
        const done = send(server.origin);
        await done.handler.finished();
        done.call.abort();
        done.call.resume();
        expect(handler.calls).toEqual([]);
        expect(done.handler.calls).toEqual(["head", "body", "end"]);
      });

      it("may be called from within a callback", async () => {
        const server = await upstream(answering(OK));
        const handler = new RecordingHandler();
        const call = engine.send(upstreamRequest(server.origin), handler);
        handler.onHead = () => call.abort();
        const connection = await server.connection(0);
        await connection.gone();
        expect(handler.calls).toEqual([]);
      });
    });

    describe("upgrade", () => {
      const headers = ["Host", "a", "Connection", "Upgrade", "Upgrade", "websocket"];
      const switching = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";

      it("hands the socket over, and what it already said", async () => {
        const server = await upstream(answering(`${switching}early`));
        const { handler } = send(server.origin, { headers, upgrade: true });
        await handler.finished();
        expect(handler.calls).toEqual(["upgrade"]);
        const { socket, rest } = handler.upgraded!;
        expect(handler.upgraded!.headers).toEqual(["Connection", "Upgrade", "Upgrade", "websocket"]);
        const tunnel = new RawConnection(socket, 0);
        socket.resume();
        const connection = server.connections[0]!;
        connection.write(" late");
        await tunnel.until(() => rest.toString() + tunnel.received === "early late");
        socket.write("up");
        await connection.seen("up");
        await get(server.origin, { responseMs: 500 });
        expect(server.connections, "not pooled").toHaveLength(2);
        socket.destroy();
      });

      it("survives a reset of a socket that was handed over", async () => {
        const server = await upstream(answering(switching));
        const { handler } = send(server.origin, { headers, upgrade: true });
        await handler.finished();
        const closed = new Promise((resolve) => handler.upgraded!.socket.once("close", resolve));
        handler.upgraded!.socket.resume();
        reset(server.connections[0]!.socket);
        await closed;
      });

      it("is outside the time-outs once it is done", async () => {
        const server = await upstream(answering(switching));
        const { handler } = send(server.origin, { headers, upgrade: true, responseMs: 60, idleMs: 60 });
        await handler.finished();
        await new Promise((passed) => setTimeout(passed, 120));
        expect(handler.upgraded!.socket.destroyed).toBe(false);
        handler.upgraded!.socket.destroy();
      });

      it("hands on any other answer as such, and uses the connection for nothing else", async () => {
        const server = await upstream(answering("HTTP/1.1 426 Upgrade Required\r\nContent-Length: 2\r\n\r\nno"));
        const got = await get(server.origin, { headers, upgrade: true });
        expect([got.status, got.body]).toEqual([426, "no"]);
        await rested();
        await get(server.origin);
        expect(server.connections).toHaveLength(2);
      });
    });

    describe("TLS", () => {
      const fixtures = new URL("./fixtures/", import.meta.url);
      const cert = readFileSync(new URL("upstream.crt", fixtures));
      const key = readFileSync(new URL("upstream.key", fixtures));

      async function tlsUpstream() {
        const seen = { decrypted: "", names: [] as (string | false)[], clientErrors: 0 };
        const server = createTlsServer({ cert, key }, (socket: TLSSocket) => {
          seen.names.push(socket.servername as string | false);
          socket.on("error", () => {});
          socket.on("data", (chunk) => {
            seen.decrypted += chunk.toString("latin1");
            if (seen.decrypted.endsWith("\r\n\r\n")) socket.write(OK);
          });
        });
        server.on("tlsClientError", () => {});
        const sockets = new Set<{ destroy(): void }>();
        server.on("connection", (socket) => sockets.add(socket));
        await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
        servers.push({
          close() {
            server.close();
            for (const socket of sockets) socket.destroy();
          },
        });
        const { port } = server.address() as { port: number };
        const origin = (serverName: string, ca: Buffer | null): UpstreamOrigin => ({
          hostname: "127.0.0.1",
          port,
          tls: { ca, cert: null, key: null, serverName },
        });
        return { seen, origin };
      }

      it("verifies against the authority and name given, sends SNI, and uses the connection again", async () => {
        const { seen, origin } = await tlsUpstream();
        const trusted = origin("upstream.test", cert);
        expect((await get(trusted)).body).toBe("ok");
        await rested();
        expect((await get(trusted)).body).toBe("ok");
        expect(new Set(seen.names)).toEqual(new Set(["upstream.test"]));
        // node's own agent gives a TLS connection back a turn later on Node 24: the reference may open a second one.
        expect(seen.names.length).toBeLessThanOrEqual(name === "the socket engine" ? 1 : 2);
      });

      it("verifies an address without SNI", async () => {
        const { seen, origin } = await tlsUpstream();
        expect((await get(origin("127.0.0.1", cert))).body).toBe("ok");
        expect(seen.names).toEqual([false]);
      });

      it.each([
        ["is not trusted", "upstream.test", null],
        ["is for another name", "other.test", cert],
      ])("sends nothing to an upstream whose certificate %s", async (_, serverName, ca) => {
        const { seen, origin } = await tlsUpstream();
        const got = await get(origin(serverName, ca));
        expect(got.error).toMatchObject({ reason: "refused", nothingSent: true });
        for (let turn = 0; turn < 10; turn++) await new Promise((done) => setImmediate(done));
        expect(seen.decrypted).toBe("");
      });

      it("counts an upstream that speaks no TLS as refusing", async () => {
        const server = await upstream((connection) => connection.write("HTTP/1.1 400 Bad Request\r\n\r\n"));
        const tls = { ca: cert, cert: null, key: null, serverName: "upstream.test" };
        const got = await get({ ...server.origin, tls });
        expect(got.error).toMatchObject({ reason: "refused", nothingSent: true });
      });
    });
  });
}
