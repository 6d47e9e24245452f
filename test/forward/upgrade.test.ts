import { createHash } from "node:crypto";
import { subscribe, unsubscribe } from "node:diagnostics_channel";
import type { Socket } from "node:net";
import { describe, expect, it, vi } from "vitest";
import { createHttpEngine } from "../../src/forward/http-engine.ts";
import { createSocketEngine } from "../../src/forward/socket-engine.ts";
import { forwardParts, type RigOptions, upstreamOn, VIA } from "./forward-rig.ts";
import { answering, holdWrites, type RawConnection, refusingPort, reset, type Script } from "./support.ts";

const KEY = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT = createHash("sha1").update(`${KEY}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest("base64");
const HANDSHAKE = `GET /ws HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${KEY}\r\nAuthorization: Bearer unkey_a\r\n\r\n`;
const SWITCHING = `HTTP/1.1 101 Whatever\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\nSec-WebSocket-Accept: ${ACCEPT}\r\nSec-WebSocket-Protocol: chat\r\n`;

describe.each([
  ["node:http", createHttpEngine],
  ["sockets", createSocketEngine],
] as const)("a WebSocket over %s", (_, createEngine) => {
  const { upstream, rig, client } = forwardParts(createEngine);

  async function handshake(script: Script, early = "", options: Partial<RigOptions> = {}) {
    const server = await upstream(script);
    const route = { websocket: true, ...options.route } as never;
    const gateway = await rig({ upstream: upstreamOn(server.port), ...options, route });
    const caller = await client(gateway);
    caller.write(HANDSHAKE + early);
    return { server, gateway, caller };
  }

  /** An open tunnel, both ends of it. */
  async function tunnel(options: Partial<RigOptions> = {}) {
    const set = await handshake(answering(`${SWITCHING}\r\n`), "", options);
    await set.caller.seen("\r\n\r\n");
    return { ...set, far: set.server.connections[0]! };
  }

  it("is tunnelled after the upstream's own 101, both ways", async () => {
    const { gateway, caller, far } = await tunnel();
    expect(far.received).toContain("GET /ws HTTP/1.1\r\nHost: a\r\nSec-WebSocket-Version: 13\r\n");
    expect(far.received).toContain("\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n");
    expect(far.received).toContain("\r\nAuthorization: Bearer unkey_a\r\n");
    const { requestId } = gateway.exchanges[0]!;
    expect(caller.received).toBe(
      "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
        `Sec-WebSocket-Accept: ${ACCEPT}\r\nSec-WebSocket-Protocol: chat\r\nX-Request-Id: ${requestId}\r\nVia: ${VIA}\r\n\r\n`,
    );
    caller.write("\x00ping\xff");
    await far.seen("\x00ping\xff");
    far.write("\x00pong\xfe");
    await caller.seen("\x00pong\xfe");
    expect(gateway.forwarder.tunnels.size).toBe(1);
    caller.socket.end();
    await far.gone();
    far.socket.end();
    const { exchange } = await gateway.ending();
    await gateway.until(() => gateway.outcomes.length === 1);
    expect(gateway.outcomes).toEqual([{ kind: "answered" }]);
    expect(exchange).toMatchObject({ status: 101, bytesIn: 6, bytesOut: 6 });
    expect(gateway.forwarder.tunnels.size).toBe(0);
  });

  it("gets what either side said early once, in order, and only after the 101", async () => {
    const { server, caller } = await handshake(async (connection) => {
      await connection.seen("\r\n\r\n");
    }, "early");
    const far = await server.connection(0);
    await far.seen("\r\n\r\n");
    caller.write(" more");
    for (let turn = 0; turn < 20; turn++) await new Promise((done) => setImmediate(done));
    expect(far.received).toMatch(/\r\n\r\n$/);
    far.write(`${SWITCHING}\r\nwelcome`);
    await caller.seen("\r\n\r\nwelcome");
    await far.seen("\r\n\r\nearly more");
    caller.write(" later");
    await far.seen("\r\n\r\nearly more later");
  });

  it.each([
    ["another protocol", SWITCHING.replace("WebSocket", "h2c")],
    ["no protocol", "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n"],
    ["no Connection: Upgrade", SWITCHING.replace("Connection: Upgrade\r\n", "")],
    ["another handshake's answer", SWITCHING.replace(ACCEPT, "AAAAAAAAAAAAAAAAAAAAAAAAAAA=")],
    ["no answer to the handshake", SWITCHING.replace(/Sec-WebSocket-Accept: .*\r\n/, "")],
    ["two answers to the handshake", `${SWITCHING}Sec-WebSocket-Accept: ${ACCEPT}\r\n`],
  ])("is 502 where the upstream's 101 is to %s, and nothing is tunnelled", async (_, answer) => {
    const { server, gateway, caller } = await handshake(answering(`${answer}\r\nsecret`), "early");
    await caller.gone();
    expect(caller.received).toMatch(/^HTTP\/1\.1 502 /);
    expect(caller.received).toContain("X-Fault: sentinel:upstream:bad_gateway\r\n");
    expect(caller.received).not.toContain("secret");
    const far = server.connections[0]!;
    await far.gone();
    expect(far.received).not.toContain("early");
    expect(gateway.forwarder.tunnels.size).toBe(0);
  });

  it("relays any other answer, closes, and sends no byte that follows the handshake on", async () => {
    for (const status of [200, 400, 426]) {
      const { server, gateway, caller } = await handshake(
        answering(
          `HTTP/1.1 ${status} Other\r\nContent-Length: 2\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\nno`,
        ),
        "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
      );
      await caller.seen("\r\n\r\nno");
      caller.write("GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n");
      await caller.gone();
      expect(caller.received).toMatch(new RegExp(`^HTTP/1.1 ${status} Other\r\n`));
      expect(caller.received).toContain("Connection: close\r\n");
      expect(caller.received).not.toMatch(/upgrade/i);
      expect(server.heads).toBe(1);
      expect(server.connections[0]!.received).not.toContain("smuggled");
      expect((await gateway.ending()).exchange.status).toBe(status);
    }
  });

  it("relays a long refusal at the pace of its client", async () => {
    const size = 8 * 1024 * 1024;
    const { caller } = await handshake(async (connection) => {
      await connection.seen("\r\n\r\n");
      connection.write(`HTTP/1.1 403 Forbidden\r\nContent-Length: ${size}\r\n\r\n`);
      connection.socket.write(Buffer.alloc(size, 97));
    });
    await caller.gone();
    expect(caller.received.length).toBeGreaterThan(size);
    expect(caller.received.split("\r\n\r\n")[1]).toHaveLength(size);
  });

  it("ends in a fault where there is no upstream, or it does not answer", async () => {
    const nobody = await rig({ upstream: upstreamOn(await refusingPort()), route: { websocket: true } as never });
    const caller = await client(nobody);
    caller.write(HANDSHAKE);
    await caller.gone();
    expect(caller.received).toMatch(/^HTTP\/1\.1 503 /);

    const silent = await handshake(() => {}, "", { upstream: upstreamOn((await upstream()).port, { responseMs: 60 }) });
    await silent.caller.gone();
    expect(silent.caller.received).toMatch(/^HTTP\/1\.1 504 /);
  });

  it("takes another target where one refuses", async () => {
    const server = await upstream(answering(`${SWITCHING}\r\n`));
    const gateway = await rig({
      upstream: upstreamOn([await refusingPort(), server.port]),
      route: { websocket: true } as never,
    });
    for (let count = 0; count < 2; count++) {
      const caller = await client(gateway);
      caller.write(HANDSHAKE);
      await caller.seen("HTTP/1.1 101");
    }
    expect(gateway.exchanges.map(({ retries }) => retries).sort()).toEqual([0, 1]);
  });

  it("closes the client within a second of the upstream, what it said before delivered", async () => {
    for (const how of ["end", "reset"] as const) {
      const { gateway, caller, far } = await tunnel();
      far.write("last words");
      await caller.seen("last words");
      if (how === "end") far.socket.end();
      else reset(far.socket);
      await caller.gone();
      await gateway.ending();
      await gateway.until(() => gateway.forwarder.tunnels.size === 0);
    }
  });

  it("delivers the last words of a client that leaves", async () => {
    const { gateway, caller, far } = await tunnel();
    caller.socket.end("bye");
    await far.seen("bye");
    await far.gone();
    await gateway.ending();
  });

  it("does not wait for ever for a side that does not close when the other has", async () => {
    for (const leaving of ["client", "upstream"] as const) {
      const { gateway, caller, far } = await tunnel();
      const [near, other] = leaving === "client" ? [caller, far] : [far, caller];
      near.socket.end();
      await other.until(() => other.ended);
      await gateway.until(() => gateway.outcomes.length === 1);
      expect(gateway.forwarder.tunnels.size).toBe(0);
      // It has kept its own side open, and finds out by its next words that nobody is there.
      while (!other.closed) {
        other.write("still here?");
        await new Promise((done) => setImmediate(done));
      }
    }
  });

  it("lets the kernel deliver what an upstream said last to a client that takes its time", async () => {
    const { gateway, caller, far } = await tunnel();
    const reset = vi.spyOn(gateway.exchanges[0]!.socket, "resetAndDestroy");
    far.socket.end("last words");
    await caller.until(() => caller.ended);
    await gateway.ending();
    // It would throw away what the kernel holds.
    expect(reset).not.toHaveBeenCalled();
  });

  it("waits, once an upstream has ended, for a client that has not taken all of it", async () => {
    const { gateway, caller, far } = await tunnel();
    const release = holdWrites(gateway.exchanges[0]!.socket);
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    try {
      far.socket.end("last words");
      await far.gone();
      vi.advanceTimersByTime(10_000);
      expect(gateway.outcomes).toHaveLength(0);
    } finally {
      vi.useRealTimers();
    }
    release();
    await caller.seen("last words");
    await caller.gone();
    caller.socket.end();
    await gateway.ending();
  });

  it("ends where its upstream's TLS breaks, of which node only tells", async () => {
    const sockets: Socket[] = [];
    const note = (message: unknown) => sockets.push((message as { socket: Socket }).socket);
    subscribe("net.client.socket", note);
    const { server, gateway, caller } = await tunnel();
    unsubscribe("net.client.socket", note);
    sockets.find(({ remotePort }) => remotePort === server.port)!.emit("error", new Error("bad record mac"));
    await caller.gone();
    await gateway.ending();
  });

  it("survives resets before, during and after the 101", async () => {
    const server = await upstream(answering(`${SWITCHING}\r\n`));
    const gateway = await rig({ upstream: upstreamOn(server.port), route: { websocket: true } as never });
    const phases = [
      async () => {},
      async (caller: RawConnection) => caller.write(HANDSHAKE),
      async (caller: RawConnection) => {
        caller.write(HANDSHAKE);
        await new Promise((done) => setImmediate(done));
      },
      async (caller: RawConnection) => {
        caller.write(HANDSHAKE);
        await caller.seen("HTTP/1.1 101");
      },
      async (caller: RawConnection) => {
        caller.write(HANDSHAKE);
        await caller.seen("HTTP/1.1 101");
        caller.write("some");
      },
    ];
    for (let round = 0; round < 100; round++) {
      const caller = await client(gateway);
      await phases[round % phases.length]!(caller);
      reset(caller.socket);
    }
    await gateway.until(() => gateway.over.length === gateway.exchanges.length);
    await Promise.all(server.connections.map((connection) => connection.gone()));
    await gateway.until(() => gateway.forwarder.tunnels.size === 0);
    const caller = await client(gateway);
    caller.write(HANDSHAKE);
    await caller.seen("HTTP/1.1 101");
  });

  it("is given up with a client that leaves before the 101", async () => {
    for (const how of ["end", "reset"] as const) {
      const { server, gateway, caller } = await handshake(() => {});
      const far = await server.connection(0);
      await far.seen("\r\n\r\n");
      if (how === "end") caller.socket.end();
      else reset(caller.socket);
      await far.gone();
      expect((await gateway.ending()).outcome).toBeNull();
    }
  });

  it("can be closed from here, once or twice", async () => {
    const { gateway, caller, far } = await tunnel();
    const [open] = gateway.forwarder.tunnels;
    expect(open!.exchange).toBe(gateway.exchanges[0]);
    open!.close();
    open!.close();
    await Promise.all([caller.gone(), far.gone(), gateway.ending()]);
    expect(gateway.outcomes).toEqual([{ kind: "answered" }]);
    expect(gateway.forwarder.tunnels.size).toBe(0);
  });

  it("is ended by silence, kept by a byte either way", async () => {
    const { gateway, caller, far } = await tunnel({
      route: { timeouts: { connectMs: null, responseMs: null, idleMs: 200 } } as never,
    });
    for (let beat = 0; beat < 4; beat++) {
      await new Promise((passed) => setTimeout(passed, 100));
      if (beat % 2 === 0) caller.write(".");
      else far.write(".");
    }
    expect(gateway.over).toHaveLength(0);
    await Promise.all([caller.gone(), far.gone(), gateway.ending()]);
  });

  it("holds either side back while the other does not take what it is sent", async () => {
    const size = 32 * 1024 * 1024;
    const { gateway, caller, far } = await tunnel();
    const exchange = gateway.exchanges[0]!;
    for (const [from, to, moved] of [
      [caller, far, () => exchange.bytesIn],
      [far, caller, () => exchange.bytesOut],
    ] as const) {
      to.socket.removeAllListeners("data");
      to.socket.pause();
      from.socket.write(Buffer.alloc(size, 97));
      for (let before = -1; before !== moved() || before === 0; ) {
        before = moved();
        await new Promise((passed) => setTimeout(passed, 60));
      }
      expect(moved()).toBeLessThan(size / 2);
      let taken = 0;
      to.socket.on("data", (chunk) => {
        taken += chunk.length;
        to.changed();
      });
      to.socket.resume();
      await to.until(() => taken >= size);
    }
  });
});
