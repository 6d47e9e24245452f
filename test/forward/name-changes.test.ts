import dns from "node:dns";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { afterEach, expect, it, vi } from "vitest";
import type { UpstreamEngine, UpstreamOrigin } from "../../src/forward/forwarder.ts";
import { createSocketEngine } from "../../src/forward/socket-engine.ts";
import { RecordingHandler, rested, upstreamRequest } from "./support.ts";

const AGE_MS = 300;

let engine: UpstreamEngine;
let servers: Server[] = [];

afterEach(() => {
  vi.restoreAllMocks();
  engine.close();
  for (const server of servers) {
    server.closeAllConnections();
    server.close();
  }
  servers = [];
});

async function listen(address: string, port: number): Promise<number> {
  const server = createServer((_, response) => response.end(address));
  servers.push(server);
  await new Promise<void>((listening) => server.listen(port, address, listening));
  return (server.address() as AddressInfo).port;
}

/** The name's address, or addresses, from now on; null: it is not found; an error: nobody can say. */
let resolved: string | readonly { readonly address: string; readonly family: number }[] | Error | null = null;

function resolveName(): void {
  type Callback = (error: Error | null, address?: unknown, family?: number) => void;
  vi.spyOn(dns, "lookup").mockImplementation(((_name: string, options: { all?: boolean }, callback: Callback) => {
    const address = resolved;
    process.nextTick(() => {
      if (address === null) callback(Object.assign(new Error("getaddrinfo ENOTFOUND"), { code: "ENOTFOUND" }));
      else if (address instanceof Error) callback(address);
      else if (options.all) callback(null, typeof address === "string" ? [{ address, family: 4 }] : address);
      else callback(null, typeof address === "string" ? address : address[0]?.address, 4);
    });
  }) as unknown as typeof dns.lookup);
}

async function ask(origin: UpstreamOrigin): Promise<RecordingHandler> {
  const handler = new RecordingHandler();
  engine.send(upstreamRequest(origin), handler);
  await handler.finished();
  await rested();
  return handler;
}

it("requests follow a name to its new address, though its old one goes on answering", async () => {
  const port = await listen("127.0.0.1", 0);
  await listen("127.0.0.2", port);
  resolveName();
  resolved = "127.0.0.1";
  engine = createSocketEngine({ maxSocketAgeMs: AGE_MS });
  const origin = { hostname: "orders.internal", port, tls: null };
  expect((await ask(origin)).body).toBe("127.0.0.1");

  resolved = "127.0.0.2";
  const changedAt = performance.now();
  const answers: { readonly at: number; readonly by: string }[] = [];
  // A name that is asked all the time has a connection that is never idle: only its age ends it.
  while (answers.at(-1)?.by !== "127.0.0.2") answers.push({ at: performance.now(), by: (await ask(origin)).body });
  expect(answers.at(-1)!.at - changedAt).toBeLessThan(AGE_MS + 8000);
  for (let round = 0; round < 20; round++) expect((await ask(origin)).body).toBe("127.0.0.2");
});

it("a name that is lost for a moment costs nothing while a connection lasts, and is refused after that", async () => {
  const port = await listen("127.0.0.1", 0);
  resolveName();
  resolved = "127.0.0.1";
  engine = createSocketEngine({ maxSocketAgeMs: AGE_MS });
  const origin = { hostname: "orders.internal", port, tls: null };
  await ask(origin);
  resolved = null;
  expect((await ask(origin)).body).toBe("127.0.0.1");
  let last = await ask(origin);
  while (last.error === null) last = await ask(origin);
  expect(last.error).toMatchObject({ reason: "refused", nothingSent: true, detail: "ENOTFOUND" });
  resolved = "127.0.0.1";
  expect((await ask(origin)).body).toBe("127.0.0.1");
});

it("a name that nobody can say the address of is reached at its last one, by new connections too", async () => {
  const port = await listen("127.0.0.1", 0);
  resolveName();
  resolved = "127.0.0.1";
  engine = createSocketEngine();
  const origin = { hostname: "orders.internal", port, tls: null };
  await ask(origin);
  resolved = Object.assign(new Error("getaddrinfo EAI_AGAIN"), { code: "EAI_AGAIN" });
  for (let round = 0; round < 3; round++) {
    const handler = new RecordingHandler();
    engine.send(upstreamRequest(origin, { freshSocket: true }), handler);
    await handler.finished();
    expect(handler.body).toBe("127.0.0.1");
  }
});

it("a name of two addresses, one of which refuses, is reached by the other", async () => {
  const port = await listen("127.0.0.1", 0);
  resolveName();
  resolved = [
    { address: "::1", family: 6 },
    { address: "127.0.0.1", family: 4 },
  ];
  engine = createSocketEngine();
  const origin = { hostname: "orders.internal", port, tls: null };
  for (let round = 0; round < 3; round++) expect((await ask(origin)).body).toBe("127.0.0.1");
});

it("a name whose look-up takes long is looked up once, and holds up nobody who wants another", async () => {
  const port = await listen("127.0.0.1", 0);
  const asked: string[] = [];
  const waiting: (() => void)[] = [];
  vi.spyOn(dns, "lookup").mockImplementation(((
    name: string,
    _options: unknown,
    found: (error: null, addresses: unknown) => void,
  ) => {
    asked.push(name);
    const tell = () => found(null, [{ address: "127.0.0.1", family: 4 }]);
    if (name === "silent.internal") waiting.push(tell);
    else process.nextTick(tell);
  }) as unknown as typeof dns.lookup);
  engine = createSocketEngine();
  const silent = { hostname: "silent.internal", port, tls: null };
  const handlers = Array.from({ length: 5 }, () => new RecordingHandler());
  for (const handler of handlers.slice(0, 4)) engine.send(upstreamRequest(silent), handler);
  engine.send(upstreamRequest(silent, { connectMs: 1 }), handlers[4]!);
  await handlers[4]!.finished();
  expect(handlers[4]!.error).toMatchObject({
    reason: "connect_timeout",
    nothingSent: true,
    detail: "not connected within 1 ms: the name is still looked up",
  });
  expect((await ask({ hostname: "orders.internal", port, tls: null })).body).toBe("127.0.0.1");
  expect(asked).toEqual(["silent.internal", "orders.internal"]);

  for (const tell of waiting.splice(0)) tell();
  for (const handler of handlers.slice(0, 4)) {
    await handler.finished();
    expect(handler.body).toBe("127.0.0.1");
  }
  const again = new RecordingHandler();
  engine.send(upstreamRequest(silent, { freshSocket: true }), again);
  await vi.waitUntil(() => waiting.length === 1);
  waiting[0]!();
  await again.finished();
  expect(asked, "an answer is for those who waited for it").toHaveLength(3);
});
