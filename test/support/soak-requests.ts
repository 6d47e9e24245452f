import type { RawClient } from "./raw-client.ts";
import { auth, KEYS } from "./rig.ts";

/** One kind of thing that clients do, and what has to come of it: the statuses, in order, or `null` for a cut. */
export interface SoakKind {
  readonly name: string;
  readonly send: string | ((client: RawClient) => Promise<void>);
  readonly methods?: readonly string[];
  readonly expect: readonly (number | null)[];
}

/** Milliseconds for one step of a client; a machine that hangs for a while is no failure. */
export const PATIENCE_MS = 30_000;

function request(path: string, fields = "", method = "GET", body = ""): string {
  return `${method} ${path} HTTP/1.1\r\nHost: gw\r\n${fields}\r\n${body}`;
}

function upload(path: string, body: string, fields: string, method = "POST"): string {
  return request(path, `${fields}Content-Length: ${body.length}\r\n`, method, body);
}

const OK = auth();
const CHUNKED = "Transfer-Encoding: chunked\r\n";
const JSON_TYPE = "Content-Type: application/json\r\n";
const HANDSHAKE = `${OK}Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n`;
/** The text `hello`, masked with zeros, and its echo. */
const HELLO = Buffer.from(`818500000000${Buffer.from("hello").toString("hex")}`, "hex");
const ECHO = Buffer.from(`8105${Buffer.from("hello").toString("hex")}`, "hex");

/** Writes, waits until something came back where it is said so, and is gone without a word. */
function leaving(bytes: string, received = 0): (client: RawClient) => Promise<void> {
  return async (client) => {
    await client.write(bytes);
    await client.until(() => client.received.length > received || received === 0, PATIENCE_MS);
    client.reset();
  };
}

async function tunnel(client: RawClient, end: (client: RawClient) => void): Promise<void> {
  await client.write(request("/ws", HANDSHAKE));
  await client.until(() => client.received.includes("\r\n\r\n"), PATIENCE_MS);
  for (let n = 1; n <= 5; n += 1) {
    await client.write(HELLO);
    await client.until(() => client.received.toString("latin1").split(ECHO.toString("latin1")).length > n, PATIENCE_MS);
  }
  end(client);
}

/** Everything that clients and upstreams are known to do, good and bad. */
export const SOAK_KINDS: readonly SoakKind[] = [
  { name: "GET", send: request("/any/x", OK), expect: [200] },
  { name: "GET of an open route", send: request("/public/x"), expect: [200] },
  { name: "HEAD", send: request("/any/x", OK, "HEAD"), methods: ["HEAD"], expect: [200] },
  { name: "204", send: request("/any/nothing", OK), expect: [204] },
  { name: "chunks and trailers", send: request("/any/chunks", OK), expect: [200] },
  { name: "HTTP/1.0", send: request("/any/chunks", OK).replace("1.1", "1.0"), expect: [200] },
  { name: "POST", send: upload("/any/x", "x".repeat(2000), OK), expect: [200] },
  {
    name: "POST in chunks",
    send: request("/any/x", OK + CHUNKED, "POST", "5\r\nhello\r\n0\r\nX: 1\r\n\r\n"),
    expect: [200],
  },
  { name: "an id in the body", send: upload("/v2/keys.createKey", '{"apiId":"api_1"}', OK + JSON_TYPE), expect: [200] },
  { name: "a pipeline", send: request("/any/x", OK).repeat(5), expect: [200, 200, 200, 200, 200] },
  { name: "a pipeline with a stranger", send: request("/any/x", OK) + request("/any/x"), expect: [200, 401] },
  { name: "Expect", send: upload("/any/x", "hello", `${OK}Expect: 100-continue\r\n`), expect: [200] },
  {
    name: "Expect without a key",
    send: request("/any/x", "Expect: 100-continue\r\nContent-Length: 5\r\n", "POST"),
    expect: [401],
  },
  { name: "no key", send: request("/any/x"), expect: [401] },
  { name: "a malformed key", send: request("/any/x", `Authorization: bearer ${KEYS.OK}\r\n`), expect: [401] },
  { name: "an unknown key", send: request("/any/x", auth("UNKNOWN")), expect: [401] },
  { name: "an expired key", send: request("/any/x", auth("EXPIRED")), expect: [401] },
  { name: "a disabled key", send: request("/any/x", auth("DISABLED")), expect: [403] },
  { name: "a missing permission", send: request("/admin/x", auth("RO")), expect: [403] },
  { name: "a bad id", send: upload("/v2/keys.createKey", '{"apiId":"*"}', OK + JSON_TYPE), expect: [400] },
  { name: "a dot segment", send: request("/any/../admin", OK), expect: [400] },
  { name: "no route", send: request("/nowhere", OK), expect: [404] },
  { name: "another method", send: request("/only/x", OK, "DELETE"), expect: [405] },
  { name: "a body over the limit", send: upload("/small/x", "x".repeat(2000), OK), expect: [413] },
  { name: "a long target", send: request(`/any/${"x".repeat(9000)}`, OK), expect: [414] },
  { name: "too many fields", send: request("/any/x", OK + "X: 1\r\n".repeat(120)), expect: [431] },
  {
    name: "two framings",
    send: request("/any/x", `${OK}Content-Length: 5\r\n${CHUNKED}`, "POST", "0\r\n\r\n"),
    expect: [400],
  },
  { name: "a broken chunk", send: request("/any/x", OK + CHUNKED, "POST", "zz\r\n"), expect: [400] },
  { name: "garbage", send: "\x16\x03\x01\x02\x00\x01\r\n\r\n", expect: [400] },
  {
    name: "an early answer",
    send: request("/any/early", `${OK}Content-Length: 100000\r\n`, "POST", "x".repeat(500)),
    expect: [403],
  },
  { name: "an upstream that resets", send: request("/any/reset", OK), expect: [502] },
  { name: "an upstream that speaks SMTP", send: request("/any/garbage", OK), expect: [502] },
  { name: "an answer that ends short", send: request("/any/short", OK), expect: [null] },
  { name: "an upstream that is silent", send: request("/quick/silent", OK), expect: [504] },
  { name: "leaves in its head", send: leaving("GET /any/x HTTP/1.1\r\nHost: g"), expect: [null] },
  {
    name: "leaves in its upload",
    send: leaving(request("/any/x", `${OK}Content-Length: 9000\r\n`, "POST", "x")),
    expect: [null],
  },
  { name: "leaves while it waits", send: leaving(request("/any/silent", OK)), expect: [null] },
  { name: "leaves in its download", send: leaving(request("/any/endless", OK), 50_000), expect: [null] },
  { name: "a tunnel", send: (client) => tunnel(client, (each) => each.halfClose()), expect: [101] },
  { name: "a tunnel that is reset", send: (client) => tunnel(client, (each) => each.reset()), expect: [101] },
  { name: "a tunnel without a key", send: request("/ws", HANDSHAKE.replace(OK, "")), expect: [401] },
  { name: "h2c", send: request("/any/x", HANDSHAKE.replace("websocket", "h2c")), expect: [200] },
];
