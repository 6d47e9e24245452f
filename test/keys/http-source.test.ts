import { execFileSync } from "node:child_process";
import { subscribe, unsubscribe } from "node:diagnostics_channel";
import dns from "node:dns";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { createServer as createSecureServer } from "node:https";
import type { AddressInfo, Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { afterEach, describe, expect, it, onTestFinished, vi } from "vitest";
import { createHttpSource } from "../../src/keys/http-source.ts";
import { type KeySource, type LookupOutcome, SourceUnavailable } from "../../src/keys/source.ts";
import { type CountingObserver, countingObserver, hashOf, recordOf, until } from "../support/key-parts.ts";

const A = hashOf("a");
const CHUNKED = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
const ZERO = `${"A".repeat(43)}=`;
const GOOD = { id: "key_a", hash: A, enabled: true, workspaceEnabled: true, permissions: ["api.a.read_api"] };

interface Asked {
  readonly method: string | undefined;
  readonly headers: IncomingMessage["headers"];
  readonly body: string;
}

const closers: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

/** A key service that answers from `answer`; the hash nobody has is always 404, and not written down. */
async function startService(answer: (response: ServerResponse, hash: string) => void) {
  const asked: Asked[] = [];
  const server: Server = createServer(async (request, response) => {
    let body = "";
    for await (const chunk of request) body += chunk;
    const { hash } = JSON.parse(body) as { hash: string };
    if (hash === ZERO) {
      response.writeHead(404).end();
      return;
    }
    asked.push({ method: request.method, headers: request.headers, body });
    answer(response, hash);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  closers.push(async () => {
    server.closeAllConnections();
    server.close();
  });
  return { server, asked, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/lookup` };
}

function open(url: string, timeout = 1000): { source: KeySource; observer: CountingObserver; lines: string[] } {
  const observer = countingObserver();
  const lines: string[] = [];
  const source = createHttpSource(
    { url, headers: { authorization: "Bearer service-token" }, timeout },
    {
      now: Date.now,
      mono: () => performance.now(),
      observer,
      log: (_level, event, fields) => lines.push(event + JSON.stringify(fields)),
    },
  );
  closers.push(() => source.close());
  return { source, observer, lines };
}

const sendJson = (value: unknown) => (response: ServerResponse) => {
  response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(value));
};

describe("a key service", () => {
  it("is asked with POST, the hash and its own credentials, and gives a record", async () => {
    const { url, asked } = await startService(sendJson(GOOD));
    const { source, observer } = open(url);
    const lookup = await source.find(A);
    expect(lookup).toMatchObject({ tier: "http", record: recordOf("a", { createdAt: null, updatedAt: null }) });
    expect(asked).toHaveLength(1);
    expect(asked[0]).toMatchObject({ method: "POST", body: `{"hash":"${A}"}` });
    expect(asked[0]?.headers).toMatchObject({
      authorization: "Bearer service-token",
      "content-type": "application/json",
      // Nothing here could read another.
      "accept-encoding": "identity",
    });
    expect(observer.count("http", "hit")).toBe(1);
  });

  it("says 404 for a key it does not know", async () => {
    const { url } = await startService((response) => response.writeHead(404).end("<h1>nothing here</h1>"));
    const { source, observer } = open(url);
    expect((await source.find(A)).record).toBeNull();
    expect(observer.count("http", "absent")).toBe(1);
  });

  it.each<[string, LookupOutcome, (response: ServerResponse) => void]>([
    ["200 that is not JSON", "invalid", (response) => response.end("<html>")],
    ["200 without a body", "invalid", (response) => response.end()],
    ["200 that is not UTF-8", "invalid", (response) => response.end(Buffer.from('{"id":"\xff"}', "latin1"))],
    ["200 valid:false", "invalid", sendJson({ valid: false })],
    ["200 with another key's record", "invalid", sendJson({ ...GOOD, hash: hashOf("b") })],
    ["200 without permissions", "invalid", sendJson({ ...GOOD, permissions: undefined })],
    ["200 with a start that is no text", "invalid", sendJson({ ...GOOD, start: 5 })],
    ["200 with permissions as a string", "invalid", sendJson({ ...GOOD, permissions: "*" })],
    ["200 over 1 MiB", "invalid", sendJson({ ...GOOD, padding: "x".repeat(1_100_000) })],
    [
      "200 without end",
      "invalid",
      (response) => {
        response.on("close", () => clearInterval(timer));
        const timer = setInterval(() => response.write("x".repeat(200_000)), 1);
      },
    ],
    ["404 over 1 MiB", "invalid", (response) => response.writeHead(404).end("x".repeat(1_100_000))],
    ["401: our own credentials are refused", "error", (response) => response.writeHead(401).end()],
    ["403", "error", (response) => response.writeHead(403).end()],
    ["410: only 404 says that there is no such key", "error", (response) => response.writeHead(410).end()],
    ["408 on a new connection", "error", (response) => response.writeHead(408).end()],
    [
      "200 in gzip, which was not asked for",
      "invalid",
      (response) => response.writeHead(200, { "content-encoding": "gzip" }).end(gzipSync(JSON.stringify(GOOD))),
    ],
    ["chunks that are none", "error", (response) => response.socket?.end(`${CHUNKED}zz\r\n{}\r\n0\r\n\r\n`)],
    ["a chunk that never ends", "error", (response) => response.socket?.end(`${CHUNKED}ff\r\n{}`)],
    [
      "two lengths",
      "error",
      (response) => response.socket?.end("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}"),
    ],
    ["101", "error", (response) => response.socket?.end("HTTP/1.1 101 S\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n")],
    ["429", "error", (response) => response.writeHead(429).end()],
    ["500", "error", (response) => response.writeHead(500).end()],
    ["204", "error", (response) => response.writeHead(204).end()],
    ["301 to itself", "error", (response) => response.writeHead(301, { location: "/lookup" }).end()],
    ["307 elsewhere", "error", (response) => response.writeHead(307, { location: "http://127.0.0.1:1/" }).end()],
    [
      "a body that breaks off",
      "error",
      (response) => {
        response.writeHead(200, { "content-length": "1000" });
        response.write("{");
        setImmediate(() => response.destroy());
      },
    ],
    ["a reset", "error", (response) => response.socket?.resetAndDestroy()],
    ["bytes that are not HTTP", "error", (response) => response.socket?.end("SSH-2.0-OpenSSH\r\n\r\n")],
  ])("can not tell by %s", async (_name, outcome, answer) => {
    const { url, asked } = await startService(answer);
    const { source, observer } = open(url);
    await expect(source.find(A)).rejects.toBeInstanceOf(SourceUnavailable);
    expect(observer.count("http", outcome)).toBe(1);
    expect(asked).toHaveLength(1);
  });

  it.each<[string, (response: ServerResponse) => void]>([
    ["silence", () => {}],
    [
      "a slow drip",
      (response) => {
        const timer = setInterval(() => response.write(" "), 20);
        response.on("close", () => clearInterval(timer));
      },
    ],
  ])("can not tell by %s, and says so when its time is over", async (_name, answer) => {
    const { url } = await startService(answer);
    const { source } = open(url, 150);
    const startedAt = performance.now();
    await expect(source.find(A)).rejects.toThrow(/time-out/);
    expect(performance.now() - startedAt).toBeLessThan(8000);
  });

  it("that changes protocol, which nobody asked for, can not tell at once", async () => {
    const { url } = await startService((response) => {
      response.socket?.write("HTTP/1.1 101 S\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n");
    });
    const { source } = open(url);
    await expect(source.find(A)).rejects.toThrow(/status 101/);
  });

  it("whose answer breaks off on a connection that was used before is not asked again", async () => {
    let answers = 0;
    const { url, asked } = await startService((response, hash) => {
      answers += 1;
      if (answers !== 2) {
        sendJson({ ...GOOD, hash })(response);
        return;
      }
      response.writeHead(200, { "content-length": "1000" }).write("{");
      const reset = () => {
        unsubscribe("http.client.response.finish", reset);
        response.socket?.resetAndDestroy();
      };
      // Said here when the head of the answer is there.
      subscribe("http.client.response.finish", reset);
    });
    const { source } = open(url);
    await until("reached", () => source.readiness().ready);
    await source.find(A);
    await expect(source.find(A)).rejects.toBeInstanceOf(SourceUnavailable);
    expect(asked).toHaveLength(2);
  });

  it("hears nothing of those whose time ran out while they waited for a connection", async () => {
    const { url, server, asked } = await startService((response, hash) => {
      if (hash === A) sendJson(GOOD)(response);
    });
    let connections = 0;
    server.on("connection", () => {
      connections += 1;
    });
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    onTestFinished(() => void vi.useRealTimers());
    const turn = () => new Promise((resolve) => setImmediate(resolve));
    const { source } = open(url, 300);
    while (!source.readiness().ready) await turn();
    const all = Array.from({ length: 300 }, (_, index) => Promise.resolve(source.find(hashOf(`${index}`))));
    while (asked.length < 64) await turn();
    vi.advanceTimersByTime(300);
    for (const { status } of await Promise.allSettled(all)) expect(status).toBe("rejected");
    vi.useRealTimers();
    await until("it is asked again", () =>
      Promise.resolve(source.find(A)).then(
        () => true,
        () => false,
      ),
    );
    // 64 at once, one of them on the connection that is there already, and then another.
    expect({ asked: asked.length, connections }).toEqual({ asked: 65, connections: 65 });
  });

  it("whose name nobody answers for is looked up once, not by each that asks", async () => {
    const lookUp = vi.spyOn(dns, "lookup").mockImplementation((() => {}) as unknown as typeof dns.lookup);
    const { source } = open("http://keys.internal/lookup", 50);
    const outcomes = await Promise.allSettled([source.find(A), source.find(hashOf("b"))]);
    expect(outcomes.every(({ status }) => status === "rejected")).toBe(true);
    expect(lookUp).toHaveBeenCalledTimes(1);
    lookUp.mockRestore();
  });

  it("that is late does not make those wait longer who wait for a connection", async () => {
    const { url } = await startService(() => {});
    // 300 over 64 connections: five times as long, if they waited for one another.
    const { source } = open(url, 2000);
    const startedAt = performance.now();
    const all = Array.from({ length: 300 }, (_, index) => Promise.resolve(source.find(hashOf(`${index}`))));
    const outcomes = await Promise.allSettled(all);
    expect(outcomes.every(({ status }) => status === "rejected")).toBe(true);
    expect(performance.now() - startedAt).toBeLessThan(8000);
  });

  it("that is away costs the first few a wait and the rest nothing, and is tried again within a second", async () => {
    const { url, server, asked } = await startService(sendJson(GOOD));
    const { source, lines } = open(url);
    await source.find(A);
    server.closeAllConnections();
    server.close();
    for (let index = 0; index < 5; index += 1) await expect(source.find(A)).rejects.toBeInstanceOf(SourceUnavailable);
    // The rest are refused before anything is sent: the event loop does not even turn for them.
    let turned = false;
    setImmediate(() => {
      turned = true;
    });
    const rest = await Promise.allSettled(Array.from({ length: 1000 }, async () => source.find(A)));
    expect(turned).toBe(false);
    for (const { status } of rest) expect(status).toBe("rejected");
    expect(lines.filter((line) => line.startsWith("key_service_down"))).toHaveLength(1);
    server.listen(Number(new URL(url).port), "127.0.0.1");
    await once(server, "listening");
    await until(
      "it is asked again",
      () =>
        Promise.resolve(source.find(A)).then(
          () => true,
          () => false,
        ),
      3000,
    );
    expect(asked.length).toBeGreaterThan(1);
    expect(lines.filter((line) => line.startsWith("key_service_up"))).toHaveLength(1);
  });

  it("that gave one malformed record is not given up on for the others", async () => {
    const { url } = await startService((response, hash) => sendJson(hash === A ? GOOD : { nonsense: true })(response));
    const { source } = open(url);
    for (let index = 0; index < 20; index += 1) await expect(source.find(hashOf("b"))).rejects.toThrow(/unreadable/);
    expect((await source.find(A)).record?.id).toBe("key_a");
  });

  it("that closed an idle connection is asked again over a new one", async () => {
    const { url, server } = await startService(sendJson(GOOD));
    const { source } = open(url);
    for (let round = 0; round < 5; round += 1) {
      expect((await source.find(A)).record?.id).toBe("key_a");
      server.closeIdleConnections();
    }
  });

  it.each<[string, (socket: Socket) => void]>([
    ["ends", (socket) => socket.destroy()],
    ["resets", (socket) => socket.resetAndDestroy()],
  ])("that %s an idle connection just as it is used is asked again over a new one", async (_name, close) => {
    const { url, server } = await startService(sendJson(GOOD));
    const sockets: Socket[] = [];
    server.on("connection", (socket) => sockets.push(socket));
    const { source, lines } = open(url);
    for (let round = 0; round < 20; round += 1) {
      await source.find(A);
      // At once: this process does not hear of it before it has sent the next look-up.
      for (const socket of sockets.splice(0)) close(socket);
      expect((await source.find(A)).record?.id).toBe("key_a");
    }
    expect(lines).toEqual([]);
  });

  it("that answers 408 where it ends an idle connection is asked again over a new one", async () => {
    const used = new Set<unknown>();
    const { url, asked } = await startService((response) => {
      const { socket } = response;
      if (used.has(socket)) response.writeHead(408, { connection: "close" }).end();
      else sendJson(GOOD)(response);
      used.add(socket);
    });
    const { source } = open(url);
    await source.find(A);
    expect((await source.find(A)).record?.id).toBe("key_a");
    expect(asked).toHaveLength(3);
  });

  it("whose name is not known to the DNS can not tell, and is not ready", async () => {
    const { source, observer } = open("http://keys.invalid/lookup");
    await expect(source.find(A)).rejects.toThrow(/can not tell: (ENOTFOUND|EAI_AGAIN|time-out)/);
    expect(observer.count("http", "error")).toBe(1);
    expect(source.readiness().ready).toBe(false);
  });

  it("whose certificate nobody vouches for is not told a hash, nor its credentials", async () => {
    const dir = mkdtempSync(join(tmpdir(), "sentinel-tls-"));
    const [keyFile, certFile] = [join(dir, "key.pem"), join(dir, "cert.pem")];
    const subject = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "1"];
    const made = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", ...subject];
    execFileSync("openssl", [...made, "-keyout", keyFile, "-out", certFile], { stdio: "ignore" });
    let asked = 0;
    const server = createSecureServer({ key: readFileSync(keyFile), cert: readFileSync(certFile) }, () => {
      asked += 1;
    }).listen(0, "127.0.0.1");
    await once(server, "listening");
    closers.push(async () => {
      server.closeAllConnections();
      server.close();
      rmSync(dir, { recursive: true });
    });
    const { source } = open(`https://127.0.0.1:${(server.address() as AddressInfo).port}/lookup`);
    await expect(source.find(A)).rejects.toThrow(/can not tell: DEPTH_ZERO_SELF_SIGNED_CERT/);
    expect(asked).toBe(0);
  });

  it("is reached once it says 404 for a hash that nobody has, however late it comes up", async () => {
    const { url, server } = await startService(sendJson(GOOD));
    server.close();
    const { source } = open(url);
    expect(source.readiness()).toMatchObject({ ready: false });
    server.listen(Number(new URL(url).port), "127.0.0.1");
    await until("ready", () => source.readiness().ready, 5000);
    expect(source.readiness()).toEqual({ ready: true, reason: "" });
  });

  it("that answers anything to everyone is not ready", async () => {
    const server = createServer((_request, response) => sendJson({ ...GOOD, hash: ZERO })(response));
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    closers.push(async () => void server.close());
    const { source } = open(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`);
    await until("asked", () => source.readiness().reason.includes("nobody"), 3000);
    expect(source.readiness().ready).toBe(false);
  });
});
