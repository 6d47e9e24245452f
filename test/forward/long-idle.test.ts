import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { UpstreamEngine, UpstreamRequest } from "../../src/forward/forwarder.ts";
import { createSocketEngine } from "../../src/forward/socket-engine.ts";
import { ForwardRig, type RigOptions, upstreamOn } from "./forward-rig.ts";
import {
  answering,
  type RawConnection,
  type RawServer,
  RecordingHandler,
  rawClient,
  rawServer,
  rested,
  upstreamRequest,
} from "./support.ts";

const OK = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
/** What some servers say before they close a connection that was idle for too long. */
const TIMED_OUT = "HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
const GET = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

/** A gateway without its decision, upstreams of raw bytes, and connections that nobody used for half a minute. */
describe("a connection that was idle for half a minute", () => {
  let engine: UpstreamEngine;
  const closing: { close(): void }[] = [];

  beforeEach(() => {
    vi.useFakeTimers({ toFake: ["setInterval", "clearInterval"] });
    engine = createSocketEngine();
  });

  afterEach(() => {
    engine.close();
    for (const each of closing.splice(0)) each.close();
    vi.useRealTimers();
  });

  async function upstream(answer = OK): Promise<RawServer> {
    const server = await rawServer(answering(answer));
    closing.push(server);
    return server;
  }

  async function rig(ports: readonly number[], options: Partial<RigOptions> = {}): Promise<ForwardRig> {
    const started = await new ForwardRig({ engine, upstream: upstreamOn(ports), ...options }).start();
    closing.push(started);
    return started;
  }

  async function client(to: ForwardRig): Promise<RawConnection> {
    const connection = await rawClient(to.port);
    closing.push({ close: () => connection.socket.destroy() });
    return connection;
  }

  /** So many clients, each of which has sent its request by then. */
  async function askAtOnce(to: ForwardRig, count: number): Promise<RawConnection[]> {
    const callers = await Promise.all(Array.from({ length: count }, () => client(to)));
    for (const caller of callers) caller.write(GET);
    return callers;
  }

  /** Nobody else has asked. */
  async function expectAllAnswered(gateway: ForwardRig, callers: readonly RawConnection[]): Promise<void> {
    for (const caller of callers) await caller.seen("HTTP/1.1 200");
    await gateway.until(() => gateway.over.length === callers.length);
    for (const { status, retries } of gateway.over) {
      expect(status).toBe(200);
      expect(retries).toBeLessThanOrEqual(1);
    }
  }

  /** So many connections to each target, by as many requests at once, and then half a minute. */
  async function leaveIdle(gateway: ForwardRig, count: number): Promise<void> {
    const upstream = gateway.upstreams.find("orders")!;
    const first = upstream.pick(null)!;
    for (const { origin } of new Set([first, upstream.pick(first)!])) {
      const handlers = Array.from({ length: count }, () => new RecordingHandler());
      for (const handler of handlers) engine.send(upstreamRequest(origin), handler);
      for (const handler of handlers) expect((await handler.finished()).status).toBe(200);
    }
    await rested();
    vi.advanceTimersByTime(30_000);
  }

  it.each([
    ["GET", GET],
    ["HEAD", "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n"],
    ["OPTIONS", "OPTIONS / HTTP/1.1\r\nHost: a\r\n\r\n"],
    ["GET of length 0", "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"],
  ])("takes a %s", async (_, request) => {
    const server = await upstream();
    const gateway = await rig([server.port]);
    await leaveIdle(gateway, 3);
    const caller = await client(gateway);
    caller.write(request);
    await caller.seen("HTTP/1.1 200");
    expect(server.connections).toHaveLength(3);
  });

  it.each([
    ["POST", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"],
    ["POST without a body", "POST / HTTP/1.1\r\nHost: a\r\n\r\n"],
    ["POST of length 0", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"],
    ["POST in chunks", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"],
    ["PUT", "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"],
    ["DELETE", "DELETE / HTTP/1.1\r\nHost: a\r\n\r\n"],
    ["PROPFIND", "PROPFIND / HTTP/1.1\r\nHost: a\r\n\r\n"],
    ["GET with a body", "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"],
    ["GET in chunks", "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"],
    [
      "handshake",
      "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n" +
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    ],
  ])("never takes a %s: a new one does", async (_, request) => {
    const server = await upstream();
    const gateway = await rig([server.port], { route: { websocket: true } });
    await leaveIdle(gateway, 3);
    const caller = await client(gateway);
    caller.write(request);
    await caller.seen("HTTP/1.1 200");
    expect(server.connections).toHaveLength(4);
    for (const { received } of server.connections.slice(0, 3)) expect(received.split("\r\n\r\n")).toHaveLength(2);
    // What was idle meanwhile is there for who may have it.
    const next = await client(gateway);
    next.write(GET);
    await next.seen("HTTP/1.1 200");
    expect(server.connections).toHaveLength(4);
  });

  it.each([
    ["ends", (connection: RawConnection) => void connection.socket.end()],
    ["is reset", (connection: RawConnection) => void connection.socket.resetAndDestroy()],
    ["ends with a 408", (connection: RawConnection) => void connection.socket.end(TIMED_OUT)],
  ])("costs no request that was put on it when it %s, at whatever moment, with all others", async (_, finish) => {
    for (let turns = 0; turns <= 8; turns++) {
      const server = await upstream();
      const gateway = await rig([server.port]);
      await leaveIdle(gateway, 8);
      const callers = await askAtOnce(gateway, 20);
      for (let turn = 0; turn < turns; turn++) await new Promise((done) => setImmediate(done));
      for (const connection of server.connections.slice(0, 8)) finish(connection);
      await expectAllAnswered(gateway, callers);
    }
  });

  it("costs nobody an answer when the upstream ends all 64 as they are used: each is sent again, once", async () => {
    const server = await rawServer(async (connection) => {
      await connection.seen("\r\n\r\n");
      connection.write(OK);
      await connection.seen("\r\n\r\n", 2);
      connection.socket.end();
    });
    closing.push(server);
    const gateway = await rig([server.port]);
    await leaveIdle(gateway, 64);
    const callers = await askAtOnce(gateway, 64);
    for (const caller of callers) await caller.seen("HTTP/1.1 200");
    await gateway.until(() => gateway.over.length === 64);
    expect(gateway.over.filter(({ status, retries }) => status === 200 && retries === 1)).toHaveLength(64);
    expect(server.connections).toHaveLength(128);
  });

  it("leaves nobody without an answer when all to one of two targets are dead", async () => {
    const [dead, alive] = [await upstream(), await upstream()];
    const gateway = await rig([dead.port, alive.port]);
    await leaveIdle(gateway, 10);
    const callers = await askAtOnce(gateway, 20);
    // Nothing listens there any more, and what was open is reset under the requests.
    dead.close();
    for (const { socket } of dead.connections) socket.resetAndDestroy();
    await expectAllAnswered(gateway, callers);
  });

  it("is sent away with a 408 once: said of a new connection, or of one that stays open, it is the answer", async () => {
    for (const [first, second] of [
      [TIMED_OUT, TIMED_OUT],
      [TIMED_OUT.replace("Connection: close\r\n", ""), OK],
    ] as const) {
      const server = await rawServer(async (connection) => {
        await connection.seen("\r\n\r\n");
        connection.write(connection.index === 0 ? OK : second);
        await connection.seen("\r\n\r\n", 2);
        connection.write(first);
      });
      closing.push(server);
      const gateway = await rig([server.port]);
      await leaveIdle(gateway, 1);
      const caller = await client(gateway);
      caller.write(GET);
      await caller.seen("HTTP/1.1 408");
      expect((await gateway.ending()).exchange.retries).toBe(second === OK ? 0 : 1);
    }
  });

  it.each([
    ["an answer", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nstray"],
    ["a 408", "HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 5\r\n\r\nstray"],
    ["a byte", "H"],
    ["an empty line", "\r\n"],
  ])("is closed when the upstream says something that nobody asked for: %s", async (_, bytes) => {
    const server = await upstream();
    const gateway = await rig([server.port]);
    await leaveIdle(gateway, 3);
    const callers = await Promise.all(Array.from({ length: 3 }, () => client(gateway)));
    for (const connection of server.connections) connection.write(bytes);
    for (const connection of server.connections) await connection.gone();
    for (const caller of callers) caller.write(GET);
    for (const caller of callers) {
      await caller.seen("ok");
      expect(caller.received).not.toContain("stray");
    }
    expect(server.connections).toHaveLength(6);
  });

  it("is closed when a configuration no longer names its upstream, and at the end: no timer is left", async () => {
    const [gone, stays] = [await upstream(), await upstream()];
    const gateway = await rig([gone.port, stays.port]);
    await leaveIdle(gateway, 3);
    gateway.upstreams.replace([upstreamOn(stays.port)]);
    for (const connection of gone.connections) await connection.gone();
    expect(stays.connections.filter(({ ended }) => ended)).toEqual([]);
    const timers = vi.getTimerCount();
    engine.close();
    for (const connection of stays.connections) await connection.gone();
    expect(vi.getTimerCount()).toBe(timers - 1);
  });

  it("is one of 64 whatever bursts there were, and the ticks end with the last", async () => {
    const server = await upstream();
    const gateway = await rig([server.port]);
    const timers = vi.getTimerCount();
    for (const count of [200, 10, 150, 200]) {
      await leaveIdle(gateway, count);
      const open = () => server.connections.filter(({ ended }) => !ended).length;
      await expect.poll(open, { timeout: 10_000 }).toBeLessThanOrEqual(64);
    }
    expect(vi.getTimerCount()).toBe(timers + 1);
    vi.advanceTimersByTime(60_000);
    for (const connection of server.connections) await connection.gone();
    expect(vi.getTimerCount()).toBe(timers);
  });
});

/** Requests straight to the engine; one for `/silent` is never answered, and of one for `/begun` nothing but the first line. */
describe("a request that hears nothing on a connection that was idle", () => {
  let engine: UpstreamEngine;
  let server: RawServer;

  beforeEach(async () => {
    vi.useFakeTimers({ toFake: ["setInterval", "clearInterval"] });
    engine = createSocketEngine();
    server = await rawServer(async (connection) => {
      for (let request = 1; ; request++) {
        await connection.seen("\r\n\r\n", request);
        const head = connection.received.split("\r\n\r\n")[request - 1] ?? "";
        if (head.includes(" /begun")) connection.write("HTTP/1.1 200 OK\r\n");
        else if (!head.includes(" /silent")) connection.write(OK);
      }
    });
    const handlers = [send(), send(), send()];
    for (const handler of handlers) await handler.finished();
    await rested();
    vi.advanceTimersByTime(1000);
  });

  afterEach(() => {
    engine.close();
    server.close();
    vi.useRealTimers();
  });

  function send(changes: Partial<UpstreamRequest> = {}): RecordingHandler {
    const handler = new RecordingHandler();
    const limits = { connectMs: 2000, responseMs: 30_000 };
    engine.send(upstreamRequest(server.origin, { ...limits, ...changes }), handler);
    return handler;
  }

  async function sendAndArrive(changes: Partial<UpstreamRequest>): Promise<RawConnection> {
    send(changes);
    const arrived = (connection: RawConnection) => connection.received.includes(` ${changes.path} `);
    await expect.poll(() => server.connections.some(arrived)).toBe(true);
    return server.connections.find(arrived)!;
  }

  it("for as long as it may take to connect closes the others, which are likely as dead", async () => {
    const silent = await sendAndArrive({ path: "/silent" });
    vi.advanceTimersByTime(2200);
    for (const connection of server.connections) if (connection !== silent) await connection.gone();
    expect((await send().finished()).body).toBe("ok");
    expect(server.connections).toHaveLength(4);
    expect(silent.ended, "it has its time still").toBe(false);
  });

  it("leaves them when one was heard of since", async () => {
    await sendAndArrive({ path: "/silent" });
    await send().finished();
    await rested();
    vi.advanceTimersByTime(2200);
    expect((await send().finished()).body).toBe("ok");
    expect(server.connections.filter(({ ended }) => ended)).toEqual([]);
    expect(server.connections).toHaveLength(3);
  });

  it("leaves them when one was heard of since that is busy again", async () => {
    await sendAndArrive({ path: "/silent" });
    await send().finished();
    await rested();
    await sendAndArrive({ path: "/begun" });
    vi.advanceTimersByTime(2200);
    expect((await send().finished()).body).toBe("ok");
    expect(server.connections.filter(({ ended }) => ended)).toEqual([]);
    expect(server.connections).toHaveLength(3);
  });

  it("closes them though one was heard of that was opened since", async () => {
    const silent = await sendAndArrive({ path: "/silent" });
    vi.advanceTimersByTime(100);
    await send({ freshSocket: true }).finished();
    await rested();
    vi.advanceTimersByTime(2200);
    for (const connection of server.connections.slice(0, 3)) if (connection !== silent) await connection.gone();
  });

  it.each<[string, Partial<UpstreamRequest>, number]>([
    ["an answer that has begun", { path: "/begun" }, 3],
    ["a connection that is new", { path: "/silent", freshSocket: true }, 4],
    ["a request whose body is still to come", { path: "/silent", method: "POST", body: "chunked" }, 3],
    ["no limit on connecting", { path: "/silent", connectMs: 0 }, 3],
  ])("leaves them with %s", async (_, changes, connections) => {
    await sendAndArrive(changes);
    vi.advanceTimersByTime(2900);
    expect((await send().finished()).body).toBe("ok");
    expect(server.connections.filter(({ ended }) => ended)).toEqual([]);
    expect(server.connections).toHaveLength(connections);
  });
});
