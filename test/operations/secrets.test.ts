import { randomBytes } from "node:crypto";
import { writeFileSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { expect, it } from "vitest";
import { CATALOGUE, type FaultCode } from "../../src/faults/catalogue.ts";
import { startGateway } from "../support/gateway.ts";
import { keyringKey } from "../support/keyring.ts";
import { findSecret } from "../support/oracles.ts";
import { NamedUpstream } from "./load.ts";

const ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";

function makeKey(): string {
  return `unkey_${Array.from(randomBytes(24), (byte) => ALPHABET[byte % ALPHABET.length]).join("")}`;
}

/** Everywhere a client could put its key, rightly or not. */
function requestsWith(key: string): string[] {
  const [end, host] = ["\r\n\r\n", "Host: x\r\n"];
  const get = (path: string, fields: string) => `GET ${path} HTTP/1.1\r\n${host}${fields}${end}`;
  return [
    get("/", `Authorization: Bearer ${key}`),
    get("/", `Authorization: bearer ${key}`),
    get("/", `Authorization: Bearer  ${key}`),
    get("/", `Authorization: Basic ${key}`),
    get("/", `Authorization: ${key}`),
    get("/", `Authorization: Bearer ${key}\u00e9`),
    get("/", `Authorization: Bearer ${key}\r\nAuthorization: Bearer ${key}`),
    get("/", `Authorization: Bearer ${key}\r\nConnection: authorization`),
    get("/", `X-Api-Key: ${key}\r\nCookie: key=${key}\r\nUser-Agent: ${key}\r\nReferer: https://x/${key}`),
    get(`/${key}`, `Authorization: Bearer ${key}`),
    get(`/a/${key}/b`, ""),
    get(`/%75nkey_${key.slice(6)}`, ""),
    get(`/a?key=${key}`, `Authorization: Bearer ${key}`),
    get(`/../${key}`, ""),
    get(`/${key}%zz`, ""),
    get("/", `X-Forwarded-For: ${key}\r\nX-Request-Id: ${key}\r\ntraceparent: 00-${key}`),
    get("/", `Host: ${key}`),
    get("/", `Transfer-Encoding: ${key}`),
    get("/", `Content-Length: ${key}`),
    get("/", `Expect: ${key}`),
    get("/", `${key}: 1`),
    get("/", `Authorization : Bearer ${key}`),
    get("/", `Authorization: Bearer ${key}\nX: 1`),
    `${key} / HTTP/1.1\r\n${host}${end}`,
    `GET http://${key}@x/ HTTP/1.1\r\n${host}${end}`,
    `GET / HTTP/1.1 ${key}\r\n${host}${end}`,
    `POST /body HTTP/1.1\r\n${host}Authorization: Bearer ${key}\r\nContent-Type: application/json\r\nContent-Length: ${key.length}${end}${key}`,
    `POST / HTTP/1.1\r\n${host}Authorization: Bearer ${key}\r\nTransfer-Encoding: chunked${end}${key}\r\n`,
    `GET / HTTP/1.1\r\n${host}Authorization: Bearer ${key}\r\nX: ${"y".repeat(20_000)}${end}`,
    `${key}`,
  ];
}

/** Sends bytes and waits for the other side to answer or to close; what came is not looked at. */
async function send(port: number, bytes: string): Promise<void> {
  await new Promise<void>((done) => {
    const socket = connect(port, "127.0.0.1");
    socket.on("error", () => {});
    socket.once("close", () => done());
    socket.once("data", () => socket.destroy());
    socket.write(bytes, "latin1");
  });
}

it("no eight bytes of any key are in anything the gateway writes, at trace level, whatever is sent", async () => {
  const admitted = Array.from({ length: 10 }, makeKey);
  const others = Array.from({ length: 90 }, makeKey);
  const upstream = await NamedUpstream.start("orders");
  const gateway = await startGateway({
    keyring: {
      keys: admitted.map((key, at) => keyringKey(`key_${at}`, key, { enabled: at !== 0, permissions: ["api.a.read"] })),
    },
    config: {
      log: { level: "trace" },
      limits: { headerTimeout: "1s", requestTimeout: "2s" },
      upstreams: [
        { name: "orders", targets: [upstream.origin] },
        { name: "dead", targets: ["http://127.0.0.1:1"] },
      ],
      routes: [
        { name: "all", upstream: "orders" },
        { name: "body", match: { path: "/body" }, permissions: "api.{body.a}.read", upstream: "orders" },
        { name: "dead", match: { pathPrefix: "/a" }, auth: "none", allowOverlap: true, upstream: "dead" },
      ],
    },
    expectedErrors: (record) => record.event === "config_refused",
  });
  const requests = [...admitted, ...others].flatMap(requestsWith);
  // Fifty clients, each with the next of them as soon as it is done: those that wait for a time-out hold up no others.
  const left = requests.values();
  const clients = Array.from({ length: 50 }, async () => {
    for (const bytes of left) await send(gateway.port, bytes);
  });
  await Promise.all(clients);
  writeFileSync(join(gateway.folder, "keys.yaml"), `keys: [{ id: k, hash: ${admitted[0]}, name: ${admitted[1]} }]\n`);
  gateway.signal("SIGHUP");
  await gateway.waitForRecord((record) => /refused/.test(String(record.event)));

  // The code in the log is that of the answer, also where the rest of the request was broken after it.
  const told = gateway.logs().filter((record) => typeof record.code === "string");
  const wrong = told.filter(({ code, status }) => CATALOGUE[String(code).slice(4) as FaultCode].status !== status);
  expect(wrong).toEqual([]);

  const pages = await Promise.all(
    ["/", "/metrics", "/readyz", "/livez"].map(async (path) => (await fetch(`${gateway.adminOrigin}${path}`)).text()),
  );
  const statuses = new Set(gateway.logs().map((record) => record.status));
  await gateway.stop();
  await upstream.stop();

  expect(requests.length).toBe(3000);
  for (const status of [200, 400, 401, 403, 431, 503]) expect(statuses).toContain(status);
  expect(gateway.logs().length).toBeGreaterThan(2000);
  expect(findSecret(gateway.output() + pages.join("\n"), [...admitted, ...others])).toEqual([]);
});
