import { describe, expect, it } from "vitest";
import { createSocketEngine } from "../../src/forward/socket-engine.ts";
import { describeEngine } from "./engine-suite.ts";
import { answering, RecordingHandler, rawServer, reset, rested, type Script, upstreamRequest } from "./support.ts";

describeEngine("the socket engine", createSocketEngine);

describe("a request that is sent at the end of the turn", () => {
  const OK = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

  /** It has served a request, and the next one goes over it. */
  async function usedConnection() {
    const server = await rawServer(answering(OK));
    const engine = createSocketEngine();
    const first = new RecordingHandler();
    engine.send(upstreamRequest(server.origin), first).end();
    await first.finished();
    await rested();
    return { server, engine, connection: await server.connection(0) };
  }

  it.each([
    ["an answer", (write: (text: string) => void) => write("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nstray")],
    ["the end of the connection", (_: unknown, end: () => void) => end()],
  ])("takes %s that came before it for none of its own, and was not sent", async (_, happen) => {
    const { server, engine, connection } = await usedConnection();
    const second = new RecordingHandler();
    await new Promise<void>((sent) =>
      setImmediate(() => {
        happen(
          (text) => connection.write(text),
          () => connection.socket.end(),
        );
        engine.send(upstreamRequest(server.origin, { path: "/second" }), second).end();
        sent();
      }),
    );
    await second.finished();
    expect(second.status).toBe(0);
    expect(second.error).toMatchObject({ reason: "reset", nothingSent: true, reusedSocket: true, answerBegun: false });
    expect(connection.received).not.toContain("/second");
    engine.close();
    server.close();
  });

  it("takes no answer for its own before its head was sent, where its body is still to come", async () => {
    const { server, engine, connection } = await usedConnection();
    const second = new RecordingHandler();
    await new Promise<void>((sent) =>
      setImmediate(() => {
        connection.write("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nstray");
        const headers = ["Host", "x", "Content-Length", "5"];
        engine.send(
          upstreamRequest(server.origin, { method: "POST", path: "/second", body: "length", headers }),
          second,
        );
        sent();
      }),
    );
    await second.finished();
    expect(second.status).toBe(0);
    expect(second.error).toMatchObject({ reason: "reset", nothingSent: true, reusedSocket: true, answerBegun: false });
    expect(connection.received).not.toContain("/second");
    engine.close();
    server.close();
  });
});

it("a connection on which more came than the answer is not used again, though the rest is still to come", async () => {
  const server = await rawServer(async (connection) => {
    await connection.seen("\r\n\r\n");
    connection.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Le");
  });
  const engine = createSocketEngine();
  const first = new RecordingHandler();
  engine.send(upstreamRequest(server.origin), first);
  expect((await first.finished()).body).toBe("ok");
  const connection = await server.connection(0);
  await connection.gone();
  engine.close();
  server.close();
});

/** What is more would be read as the next request, and what is missing would be taken from it. */
describe("a request's body", () => {
  it.each([
    ["longer", "hello, GET /smuggled"],
    ["shorter", "hel"],
  ])("that is %s than was said ends the connection, and nothing is sent beyond its length", async (_, body) => {
    const server = await rawServer();
    const engine = createSocketEngine();
    const handler = new RecordingHandler();
    const headers = ["Host", "a", "Content-Length", "5"];
    const call = engine.send(upstreamRequest(server.origin, { method: "POST", body: "length", headers }), handler);
    await handler.called("drain");
    call.write(Buffer.from(body));
    call.end();
    await handler.finished();
    expect(handler.error?.reason).toBe("reset");
    const connection = await server.connection(0);
    await connection.gone();
    expect(connection.received).not.toContain("smuggled");
    engine.close();
    server.close();
  });
});

describe("a body that ends with its connection", () => {
  const ANSWER = "HTTP/1.1 200 OK\r\n\r\nas far as it came";
  const REQUESTS = {
    GET: {},
    POST: {
      method: "POST",
      headers: ["Host", "a", "Content-Length", "8"],
      body: "length",
      content: Buffer.from("not read"),
    },
  } as const;

  async function ask(script: Script, changes: Parameters<typeof upstreamRequest>[1] = {}) {
    const server = await rawServer(script);
    const engine = createSocketEngine();
    const handler = new RecordingHandler();
    engine.send(upstreamRequest(server.origin, changes), handler).end();
    await handler.finished();
    engine.close();
    server.close();
    return handler;
  }

  it.each(["GET", "POST"] as const)("is not whole where it is reset with the last bytes: %s", async (method) => {
    const broken: Script = async (connection) => {
      await connection.seen("\r\n\r\n");
      connection.write(ANSWER);
      reset(connection.socket);
    };
    const got = await ask(broken, REQUESTS[method]);
    expect(got.trailers, "never complete").toBeNull();
    expect(got.error).toMatchObject({ reason: "reset", answerBegun: true });
  });

  it.each(["GET", "POST"] as const)(
    "is whole where the upstream ends it and then resets the connection: %s",
    async (method) => {
      const answered: Script = async (connection) => {
        await connection.seen("\r\n\r\n");
        connection.socket.end(ANSWER, () => reset(connection.socket));
      };
      const got = await ask(answered, REQUESTS[method]);
      expect(got.error).toBeNull();
      expect(got.body).toBe("as far as it came");
    },
  );
});
