import { createHash } from "node:crypto";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { WebSocket, WebSocketServer } from "ws";
import { stringify } from "yaml";
import { rssOf, startGateway } from "../support/gateway.ts";
import { valuesOf } from "../support/http-parsers.ts";
import { RawClient } from "../support/raw-client.ts";
import { answer, answerOk, type Script } from "../support/recording-upstream.ts";
import {
  type Attack,
  type AttackResult,
  auth,
  denied,
  failed,
  KEYS,
  RIG_KEYRING,
  Rig,
  refused,
  rigRoutes,
  served,
} from "../support/rig.ts";
import { describeAttacks, get, SMUGGLED } from "./wire.ts";

const KEY = "dGhlIHNhbXBsZSBub25jZQ==";
const BAD_GATEWAY = "err:sentinel:upstream:bad_gateway";

function handshake(path = "/ws", fields = auth(), upgrade = "websocket"): string {
  return get(
    path,
    `${fields}Connection: Upgrade\r\nUpgrade: ${upgrade}\r\nSec-WebSocket-Key: ${KEY}\r\nSec-WebSocket-Version: 13\r\n`,
  );
}

function acceptOf(key: string): string {
  return createHash("sha1").update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest("base64");
}

/** The upstream's 101; whatever comes after is only recorded. */
function switching(extra = ""): Script {
  return (request, connection) => {
    connection.silent = true;
    const accept = acceptOf(valuesOf(request, "sec-websocket-key")[0] ?? "");
    return `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n${extra}`;
  };
}

/** No 101, no Upgrade upstream: an ordinary request. */
function ordinary({ requests, answers }: AttackResult): void {
  expect(answers.map((each) => each.status)).not.toContain(101);
  for (const request of requests) {
    expect(valuesOf(request, "upgrade")).toEqual([]);
    expect(valuesOf(request, "connection").join()).not.toMatch(/upgrade/i);
    expect(valuesOf(request, "http2-settings")).toEqual([]);
  }
}

const tunnelled = { answers: [{ status: 101 }], closed: false, up: 1 };

const attacks: Attack[] = [
  {
    name: "114 an upgrade without a key is 401 and closed",
    send: handshake("/ws", ""),
    expect: refused(401, "err:unkey:authentication:missing"),
  },
  {
    name: "114 an upgrade with a key that lacks the permission is 403 and closed",
    send: handshake("/ws", auth("RO")),
    expect: refused(403, "err:unkey:authorization:insufficient_permissions"),
  },
  {
    name: "114 an upgrade with two credentials is 401",
    send: handshake("/ws", `${auth()}${auth("RO")}`),
    expect: refused(401, "err:unkey:authentication:malformed"),
  },
  ...["h2c", "foo", "websocket, h2c", "h2c, websocket", "websocket/13", "TLS/1.0", ""].map((upgrade) => ({
    name: `115 Upgrade: ${upgrade} is an ordinary request`,
    send: handshake("/ws", `${auth()}HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n`, upgrade),
    expect: [served(), refused(400)],
    claim: ordinary,
  })),
  {
    name: "115 Upgrade: h2c without a key is 401",
    send: handshake("/any", "HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n", "h2c"),
    expect: denied(401, "err:unkey:authentication:missing"),
  },
  {
    name: "115 two Upgrade fields are 400",
    send: handshake("/ws", `${auth()}Upgrade: websocket\r\n`),
    expect: refused(400, "err:user:bad_request:invalid_request"),
  },
  {
    name: "115 a POST is no WebSocket handshake",
    send: `POST /ws HTTP/1.1\r\nHost: gw\r\n${auth()}Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: ${KEY}\r\nSec-WebSocket-Version: 13\r\nContent-Length: 3\r\n\r\nabc`,
    expect: [served(), refused(400)],
    claim: ordinary,
  },
  {
    name: "115 HTTP/1.0 can not upgrade",
    send: `GET /ws HTTP/1.0\r\nHost: gw\r\n${auth()}Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: ${KEY}\r\n\r\n`,
    expect: [served(), { ...served(), closed: true }],
    claim: ordinary,
  },
  {
    name: "115 Upgrade that Connection does not name is an ordinary request",
    send: get("/ws", `${auth()}Upgrade: websocket\r\nSec-WebSocket-Key: ${KEY}\r\n`),
    expect: served(),
    claim: ordinary,
  },
  {
    name: "115 what follows a refused h2c is a request of its own",
    send: `${handshake("/any", auth(), "h2c")}${SMUGGLED}`,
    expect: [false, true].map((closed) => ({ answers: [{ status: 200 }, { status: 401 }], closed, up: 1 })),
    claim: ordinary,
  },
  ...["/any", "/public"].map((path) => ({
    name: `116 a route without websocket: true does not tunnel (${path})`,
    send: handshake(path),
    expect: served(),
    claim: ordinary,
  })),
  ...[200, 400, 426].map((status) => ({
    name: `117 an upstream that answers the handshake with ${status} gets nothing more of the connection`,
    send: `${handshake()}${SMUGGLED}`,
    upstream: () => answer(status, "no"),
    expect: [
      { answers: [{ status }], closed: true, up: 1 },
      { answers: [{ status }, { status: 401 }], closed: true, up: 1 },
      { answers: [{ status }, { status: 401 }], closed: false, up: 1 },
    ],
    claim: ({ rig }: AttackResult) => {
      const wire = rig.upstream.connections.map((each) => each.bytes().toString("latin1")).join("");
      expect(wire).not.toContain("smuggled");
    },
  })),
  {
    name: "118 a 101 that answers a plain GET is 502",
    send: get("/ws", auth()),
    upstream: switching(),
    expect: failed(502, BAD_GATEWAY),
  },
  ...[
    ["no Upgrade", `Connection: Upgrade\r\nSec-WebSocket-Accept: ${acceptOf(KEY)}`],
    ["another Upgrade", `Connection: Upgrade\r\nUpgrade: h2c\r\nSec-WebSocket-Accept: ${acceptOf(KEY)}`],
    ["no Sec-WebSocket-Accept", "Connection: Upgrade\r\nUpgrade: websocket"],
    ["a wrong Sec-WebSocket-Accept", "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: AAAA"],
    ["no Connection: Upgrade", `Upgrade: websocket\r\nSec-WebSocket-Accept: ${acceptOf(KEY)}`],
  ].map(([what, fields]) => ({
    name: `119 a 101 with ${what} is 502`,
    send: handshake(),
    upstream: (_: unknown, connection: { silent: boolean }) => {
      connection.silent = true;
      return `HTTP/1.1 101 Switching Protocols\r\n${fields}\r\n\r\n`;
    },
    expect: failed(502, BAD_GATEWAY),
  })),
  {
    name: "122 what the client sends along with the handshake goes up once, in order, and only after the 101",
    send: async (client) => {
      await client.write(`${handshake()}EARLY`);
      await client.until(() => client.received.includes("HELLO"));
      await client.write("-LATER");
    },
    upstream: async (request, connection) => {
      expect(connection.bytes().toString("latin1")).not.toContain("EARLY");
      return switching("HELLO")(request, connection);
    },
    expect: tunnelled,
    claim: async ({ rig, client }) => {
      const tunnel = rig.upstream.connections.find((each) => each.silent);
      const upgraded = tunnel?.bytes().toString("latin1") ?? "";
      expect(upgraded).toMatch(/\r\n\r\nEARLY/);
      expect(upgraded.match(/EARLY/g)).toHaveLength(1);
      expect(client.rest().toString()).toBe("HELLO");
    },
  },
  {
    name: "121 an upstream's last words are delivered before its end",
    send: handshake(),
    upstream: (request, connection) => {
      const reply = switching("LAST WORDS")(request, connection);
      setImmediate(() => connection.socket.end());
      return reply;
    },
    expect: { ...tunnelled, closed: true },
    within: 1500,
    claim: ({ client }) => expect(client.rest().toString()).toBe("LAST WORDS"),
  },
  {
    name: "121 an upstream's reset ends the client's connection",
    send: handshake(),
    upstream: async (request, connection) => {
      connection.send((await switching()(request, connection)) as string);
      setTimeout(() => connection.resetNow(), 50);
      return null;
    },
    expect: { ...tunnelled, closed: true },
    within: 1500,
  },
];

describeAttacks({ title: "E. upgrades", attacks, naiveFails: ["115", "116", "118", "119"] });

describeAttacks({
  title: "E. routes told apart by a field",
  config: {
    routes: [
      ...rigRoutes().filter(({ name }) => name === "fence"),
      { name: "tunnel", match: { pathPrefix: "/a" }, websocket: true, upstream: "recorder" },
      { name: "plain", match: { pathPrefix: "/a", headers: { "X-Kind": "plain" } }, upstream: "recorder" },
      { name: "plain-too", match: { pathPrefix: "/b" }, upstream: "recorder" },
      {
        name: "tunnel-too",
        match: { pathPrefix: "/b", headers: { "X-Kind": "tunnel" } },
        websocket: true,
        upstream: "recorder",
      },
    ],
  },
  attacks: [
    {
      name: "116 a field that leads to a route without websocket: true does not tunnel",
      send: handshake("/a", `${auth()}X-Kind: plain\r\n`),
      expect: served(),
      claim: ordinary,
    },
    {
      name: "116 a field that leads to a route with websocket: true does",
      send: handshake("/b", `${auth()}X-Kind: tunnel\r\n`),
      upstream: switching(),
      expect: tunnelled,
    },
    {
      name: "116 without the field the other route holds",
      send: handshake("/b"),
      expect: served(),
      claim: ordinary,
    },
  ],
});

describe("E. tunnels that live and die", () => {
  let rig: Rig;
  beforeAll(async () => {
    rig = await Rig.start();
  });
  afterAll(() => rig?.stop());

  it("120 a hundred resets before, during and after the 101 leave nothing behind", async () => {
    rig.upstream.script = async (request, connection) => {
      if (request.target.startsWith("/fence")) return answerOk(request);
      if (request.target.endsWith("slow")) await new Promise((done) => setTimeout(done, 20));
      return switching("HELLO")(request, connection);
    };
    for (let round = 0; round < 100; round += 1) {
      const client = await rig.connect();
      const phase = round % 4;
      if (phase === 0) await client.write(handshake("/ws/slow").slice(0, -2));
      else await client.write(handshake(phase === 1 ? "/ws/slow" : "/ws"));
      if (phase === 2) await client.until(() => client.received.includes("HELLO"));
      if (phase === 3) {
        await client.until(() => client.received.includes("HELLO"));
        rig.upstream.connections.findLast((each) => each.silent && !each.closed)?.resetNow();
      }
      client.reset();
    }
    await rig.upstream.until(() => rig.upstream.connections.every((each) => each.closed || !each.silent));
    rig.upstream.reset();
    expect(rig.gateway.alive).toBe(true);
    expect(await rig.socketsLeft()).toBeLessThanOrEqual(0);
    expect((await rig.settle()).filter(({ kind }) => kind !== "smuggled")).toEqual([]);
  });
});

/** A gateway in front of a real WebSocket server. */
async function startWithServer(extra: Record<string, unknown> = {}) {
  const server = new WebSocketServer({ port: 0, host: "127.0.0.1", maxPayload: 64 * 1024 * 1024 });
  await new Promise((done) => server.once("listening", done));
  const address = server.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  const gateway = await startGateway({
    config: {
      upstreams: [{ name: "ws", targets: [`http://127.0.0.1:${port}`], timeouts: { idle: "700ms" } }],
      routes: [
        { name: "ws", match: { pathPrefix: "/ws" }, permissions: "admin.main.use", websocket: true, upstream: "ws" },
        {
          name: "long",
          match: { pathPrefix: "/long" },
          permissions: "admin.main.use",
          websocket: true,
          timeouts: { idle: "1m" },
          upstream: "ws",
        },
      ],
      ...extra,
    },
    keyring: RIG_KEYRING,
  });
  const open = async (path = "/long") => {
    const client = new WebSocket(`ws://127.0.0.1:${gateway.port}${path}`, {
      headers: { authorization: `Bearer ${KEYS.OK}` },
      maxPayload: 64 * 1024 * 1024,
    });
    client.on("error", () => {}); // Ends that a test provokes; `close` follows.
    await new Promise((done, failed) => {
      client.once("open", done);
      client.once("error", failed);
    });
    return client;
  };
  const stop = async () => {
    for (const each of server.clients) each.terminate();
    server.close();
    await gateway.stop();
  };
  return { server, gateway, open, stop };
}

function closing(client: WebSocket): Promise<number> {
  return new Promise((done) => client.once("close", (code) => done(code)));
}

describe("E. a real WebSocket client and server", () => {
  let running: Awaited<ReturnType<typeof startWithServer>>;
  beforeAll(async () => {
    running = await startWithServer();
  });
  afterAll(() => running?.stop());

  it("talk through the gateway, text and binary, both ways, and say goodbye", async () => {
    running.server.once("connection", (socket) => {
      socket.on("message", (data, binary) => socket.send(data, { binary }));
    });
    const client = await running.open();
    const echoed: string[] = [];
    const all = new Promise<void>((done) =>
      client.on("message", (data, binary) => {
        echoed.push(binary ? `binary ${(data as Buffer).length}` : String(data));
        if (echoed.length === 3) done();
      }),
    );
    client.send("one");
    client.send(Buffer.alloc(200_000, 7));
    client.send("three");
    await all;
    expect(echoed).toEqual(["one", "binary 200000", "three"]);
    const closed = closing(client);
    client.close(4001, "done");
    expect(await closed).toBe(4001);
  });

  it("get the principal of the key, and only a caller with a key gets through", async () => {
    const seen = new Promise<string>((done) =>
      running.server.once("connection", (_, request) => done(String(request.headers["x-unkey-principal"]))),
    );
    const client = await running.open();
    expect(await seen).toContain('"keyId":"key_ok"');
    client.terminate();
    const stranger = new WebSocket(`ws://127.0.0.1:${running.gateway.port}/ws`);
    const status = await new Promise((done) => {
      stranger.on("error", () => {}); // The refusal; the status says which.
      stranger.once("unexpected-response", (_, response) => done(response.statusCode));
    });
    expect(status).toBe(401);
  });

  it("124 a silent tunnel is closed at its limit, and pings keep it open", async () => {
    const silent = await running.open("/ws");
    const pinging = await running.open("/ws");
    const pings = setInterval(() => pinging.ping(), 100);
    await closing(silent);
    expect(pinging.readyState).toBe(WebSocket.OPEN);
    clearInterval(pings);
    await closing(pinging);
  });

  it("123 a gigabyte goes through to a slow reader in bounded memory", async () => {
    const total = 1024 * 1024 * 1024;
    const chunk = Buffer.alloc(1024 * 1024, 1);
    running.server.once("connection", (socket) => {
      let left = total;
      const more = () => {
        if (left === 0) return socket.close();
        left -= chunk.length;
        socket.send(chunk, { compress: false }, more);
      };
      more();
    });
    const before = running.gateway.rssBytes();
    let peak = before;
    const client = await RawClient.connect(running.gateway.port);
    client.socket.removeAllListeners("data");
    let received = 0;
    const done = new Promise<void>((resolve) => client.socket.on("end", resolve));
    client.socket.on("data", (data) => {
      received += data.length;
      // Slow: every 16 MiB the reader looks away, and the gateway has to hold the upstream back.
      if (received % (16 * 1024 * 1024) < data.length) {
        client.socket.pause();
        setTimeout(() => client.socket.resume(), 5);
      }
      peak = Math.max(peak, received % (8 * 1024 * 1024) < data.length ? rssOf(running.gateway.pid) : 0);
    });
    client.socket.write(handshake("/long"));
    await done;
    client.destroy();
    expect(received).toBeGreaterThan(total);
    // 16 MiB of tunnel, and room for what the collector has not taken back yet.
    expect(peak - before).toBeLessThan(64 * 1024 * 1024);
    console.log(`a tunnel of 1 GiB: memory grew by ${((peak - before) / 2 ** 20).toFixed(0)} MiB at most`);
  }, 120_000);

  it("125 a tunnel is closed when its key is taken away", async () => {
    const client = await running.open();
    const closed = closing(client);
    const keys = RIG_KEYRING.keys.map((key) => (key.id === "key_ok" ? { ...key, enabled: false } : key));
    writeFileSync(join(running.gateway.folder, "keys.yaml"), stringify({ ...RIG_KEYRING, keys }));
    const started = performance.now();
    await closed;
    expect(performance.now() - started).toBeLessThan(5000);
    const refusedNow = await RawClient.connect(running.gateway.port);
    await refusedNow.write(handshake("/ws"));
    expect((await refusedNow.answer())?.status).toBe(403);
    refusedNow.destroy();
    writeFileSync(join(running.gateway.folder, "keys.yaml"), stringify(RIG_KEYRING));
  });
});

describe("E. draining", () => {
  it("126 SIGTERM closes open tunnels at the drain deadline, and the exit is clean", async () => {
    const running = await startWithServer({ drain: { delay: "0ms", timeout: "500ms" } });
    const client = await running.open();
    const closed = closing(client);
    running.gateway.signal("SIGTERM");
    await closed;
    expect(await running.gateway.exited).toBe(0);
    running.server.close();
  });
});
