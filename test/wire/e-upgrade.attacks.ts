import { createHash } from "node:crypto";
import { expect } from "vitest";
import { valuesOf } from "../support/http-parsers.ts";
import { answer, type Script } from "../support/recording-upstream.ts";
import { type Attack, type AttackResult, auth, denied, failed, refused, served } from "../support/rig.ts";
import { get, SMUGGLED } from "./wire.ts";

const KEY = "dGhlIHNhbXBsZSBub25jZQ==";
const BAD_GATEWAY = "err:sentinel:upstream:bad_gateway";

export function handshake(path = "/ws", fields = auth(), upgrade = "websocket"): string {
  return get(
    path,
    `${fields}Connection: Upgrade\r\nUpgrade: ${upgrade}\r\nSec-WebSocket-Key: ${KEY}\r\nSec-WebSocket-Version: 13\r\n`,
  );
}

function acceptOf(key: string): string {
  return createHash("sha1").update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest("base64");
}

/** The upstream's 101; whatever comes after is only recorded. */
export function switching(extra = ""): Script {
  return (request, connection) => {
    connection.silent = true;
    const accept = acceptOf(valuesOf(request, "sec-websocket-key")[0] ?? "");
    return `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n${extra}`;
  };
}

/** No 101, no Upgrade upstream: an ordinary request. */
export function ordinary({ requests, answers }: AttackResult): void {
  expect(answers.map((each) => each.status)).not.toContain(101);
  for (const request of requests) {
    expect(valuesOf(request, "upgrade")).toEqual([]);
    expect(valuesOf(request, "connection").join()).not.toMatch(/upgrade/i);
    expect(valuesOf(request, "http2-settings")).toEqual([]);
  }
}

export const tunnelled = { answers: [{ status: 101 }], closed: false, up: 1 };

export const upgrades: Attack[] = [
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
  },
];
