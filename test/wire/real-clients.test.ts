import { execFile, spawnSync } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { Agent, createServer, request as httpRequest, type IncomingMessage, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type RunningGateway, startGateway } from "../support/gateway.ts";
import { KEYS, RIG_KEYRING } from "../support/rig.ts";

/** What people in fact call services with, through the gateway, to a server of node:http. */
const FILE = randomBytes(3_000_000);
const UPLOAD = randomBytes(2_000_000);
const ETAG = '"v1"';
const BEARER = `Bearer ${KEYS.OK}`;

const run = promisify(execFile);
let upstream: Server;
let gateway: RunningGateway;
let folder: string;
let base: string;

beforeAll(async () => {
  upstream = createServer(serve).listen(0, "127.0.0.1");
  await new Promise((listening) => upstream.once("listening", listening));
  gateway = await startGateway({
    keyring: RIG_KEYRING,
    config: {
      upstreams: [{ name: "real", targets: [`http://127.0.0.1:${(upstream.address() as AddressInfo).port}`] }],
      routes: [{ name: "all", upstream: "real" }],
    },
  });
  base = gateway.origin;
  folder = mkdtempSync(join(tmpdir(), "sentinel-clients-"));
  writeFileSync(join(folder, "upload"), UPLOAD);
});
afterAll(async () => {
  await gateway?.stop();
  upstream?.closeAllConnections();
  upstream?.close();
  rmSync(folder, { recursive: true, force: true });
});

function sha256(bytes: Buffer | string): string {
  return createHash("sha256").update(bytes).digest("hex");
}

async function bodyOf(stream: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

const serve: Parameters<typeof createServer>[1] = async (request, response) => {
  if (request.headers["x-unkey-principal"] === undefined) return void response.writeHead(500).end("nobody");
  const { url, method, headers } = request;
  if (url === "/file") return void serveFile(headers.range, headers["if-none-match"], response);
  if (url === "/nothing") return void response.writeHead(204).end();
  if (url === "/events") return void serveEvents(response);
  if (url === "/trailers") {
    response.writeHead(200, { trailer: "x-checksum" });
    response.write("abc");
    response.addTrailers({ "x-checksum": sha256("abc") });
    return void response.end();
  }
  const body = await bodyOf(request);
  response.end(JSON.stringify({ method, bytes: body.length, sha256: sha256(body) }));
};

type Answer = Parameters<NonNullable<Parameters<typeof createServer>[1]>>[1];

function serveFile(range: string | undefined, known: string | undefined, response: Answer): void {
  if (known === ETAG) return void response.writeHead(304, { etag: ETAG }).end();
  const [, from, to] = /^bytes=(\d+)-(\d+)$/.exec(range ?? "") ?? [];
  const part = range === undefined ? FILE : FILE.subarray(Number(from), Number(to) + 1);
  response.writeHead(range === undefined ? 200 : 206, {
    "content-length": part.length,
    etag: ETAG,
    "accept-ranges": "bytes",
    ...(range !== undefined && { "content-range": `bytes ${from}-${to}/${FILE.length}` }),
  });
  response.end(part);
}

/** Three events; each later one is sent once the one before can have been read. */
function serveEvents(response: Answer): void {
  response.writeHead(200, { "content-type": "text/event-stream" });
  let sent = 0;
  const timer = setInterval(() => {
    sent += 1;
    response.write(`id: ${sent}\ndata: event ${sent}\n\n`);
    if (sent < 3) return;
    clearInterval(timer);
    response.end();
  }, 20);
}

const UPLOADED = { method: "POST", bytes: UPLOAD.length, sha256: sha256(UPLOAD) };

/** Whether a program is there; a line says where it is not. */
function has(program: string): boolean {
  if (spawnSync(program, [program === "ab" ? "-V" : "--version"]).status === 0) return true;
  console.info(`no ${program} on this machine: what it does through the gateway is not tried`);
  return false;
}

describe("fetch", () => {
  const headers = { authorization: BEARER };

  it("uploads with a length and in chunks", async () => {
    const whole = await fetch(`${base}/echo`, { method: "POST", headers, body: UPLOAD });
    expect(await whole.json()).toEqual(UPLOADED);
    const body = new Blob([UPLOAD]).stream();
    const streamed = await fetch(`${base}/echo`, { method: "POST", headers, body, duplex: "half" } as RequestInit);
    expect(await streamed.json()).toEqual(UPLOADED);
  });

  it("downloads, whole and in part, and asks whether it changed", async () => {
    const whole = await fetch(`${base}/file`, { headers });
    expect(sha256(Buffer.from(await whole.arrayBuffer()))).toBe(sha256(FILE));
    const part = await fetch(`${base}/file`, { headers: { ...headers, range: "bytes=1000-1999" } });
    expect(part.status).toBe(206);
    expect(Buffer.from(await part.arrayBuffer()).equals(FILE.subarray(1000, 2000))).toBe(true);
    const same = await fetch(`${base}/file`, { headers: { ...headers, "if-none-match": ETAG } });
    expect([same.status, same.headers.get("etag"), await same.text()]).toEqual([304, ETAG, ""]);
    expect((await fetch(`${base}/nothing`, { headers })).status).toBe(204);
    const head = await fetch(`${base}/file`, { method: "HEAD", headers });
    expect([head.headers.get("content-length"), await head.text()]).toEqual([String(FILE.length), ""]);
  });

  it("reads events as an EventSource does, one by one", async () => {
    const reply = await fetch(`${base}/events`, { headers: { ...headers, accept: "text/event-stream" } });
    expect(reply.headers.get("content-type")).toBe("text/event-stream");
    const chunks: string[] = [];
    const decoder = new TextDecoder();
    for await (const chunk of reply.body as unknown as AsyncIterable<Uint8Array>) chunks.push(decoder.decode(chunk));
    expect(chunks.length).toBeGreaterThan(1);
    const events = chunks.join("").split("\n\n").filter(Boolean);
    expect(events).toEqual([1, 2, 3].map((n) => `id: ${n}\ndata: event ${n}`));
  });

  it("gives up a download, and the next one is whole", async () => {
    const stopping = new AbortController();
    const reply = await fetch(`${base}/file`, { headers, signal: stopping.signal });
    stopping.abort();
    await expect(reply.arrayBuffer()).rejects.toThrow();
    const again = await fetch(`${base}/file`, { headers });
    expect(sha256(Buffer.from(await again.arrayBuffer()))).toBe(sha256(FILE));
  });

  it("without a key gets the whole envelope", async () => {
    const reply = await fetch(`${base}/file`, { method: "POST", body: UPLOAD }).catch(() => null);
    // The body of a refused request is not read to its end: a client may see that first.
    if (reply !== null) {
      expect(reply.status).toBe(401);
      expect(((await reply.json()) as { error: { status: number } }).error.status).toBe(401);
    }
    const plain = await fetch(`${base}/file`);
    expect([plain.status, ((await plain.json()) as { error: { title: string } }).error.title]).toEqual([
      401,
      "Unauthorized",
    ]);
  });
});

describe("node:http with an agent", () => {
  const agent = new Agent({ keepAlive: true, maxSockets: 2 });
  afterAll(() => agent.destroy());

  function ask(path: string, options: Parameters<typeof httpRequest>[1] = {}, body?: Buffer) {
    return new Promise<{ reply: IncomingMessage; body: Buffer; reused: boolean }>((done, failed) => {
      const sent = httpRequest(`${base}${path}`, {
        agent,
        ...options,
        headers: { authorization: BEARER, ...(options as { headers?: Record<string, string> }).headers },
      });
      sent.once("error", failed);
      sent.once("response", (reply) => {
        bodyOf(reply).then((read) => done({ reply, body: read, reused: sent.reusedSocket }), failed);
      });
      if ((options as { headers?: Record<string, string> }).headers?.expect === undefined) sent.end(body);
      else sent.once("continue", () => sent.end(body));
    });
  }

  it("keeps its connections over answers of every kind", async () => {
    const paths = ["/file", "/nothing", "/trailers", "/echo", "/events", "/nothing", "/file"];
    const answers = [];
    for (const path of paths) answers.push(await ask(path));
    expect(answers.map(({ reply }) => reply.statusCode)).toEqual([200, 204, 200, 200, 200, 204, 200]);
    expect(answers.slice(1).map(({ reused }) => reused)).toEqual(paths.slice(1).map(() => true));
    expect(answers[2]?.reply.trailers).toEqual({ "x-checksum": sha256("abc") });
  });

  it("waits for 100 before it sends its body", async () => {
    const { body } = await ask("/echo", { method: "POST", headers: { expect: "100-continue" } }, UPLOAD);
    expect(JSON.parse(body.toString())).toEqual(UPLOADED);
  });

  it("gets fifty answers at once through two connections, each its own", async () => {
    const answers = await Promise.all(
      Array.from({ length: 50 }, (_, n) => ask("/echo", { method: "POST" }, Buffer.alloc(n * 100, n))),
    );
    expect(answers.map(({ body }) => (JSON.parse(body.toString()) as { bytes: number }).bytes)).toEqual(
      Array.from({ length: 50 }, (_, n) => n * 100),
    );
  });
});

describe.runIf(has("curl"))("curl", () => {
  const curl = async (...args: string[]) =>
    (await run("curl", ["-sS", "-H", `Authorization: ${BEARER}`, ...args], { cwd: folder })).stdout;

  it("uploads with Expect, with a length, in chunks, as a form, and by HTTP/1.0", async () => {
    for (const args of [
      ["-H", "Expect: 100-continue"],
      ["-H", "Expect:"],
      ["-H", "Transfer-Encoding: chunked"],
      ["--http1.0"],
    ]) {
      expect(JSON.parse(await curl(...args, "--data-binary", "@upload", `${base}/echo`)), args.join(" ")).toEqual(
        UPLOADED,
      );
    }
    const form = JSON.parse(await curl("-F", "file=@upload", `${base}/echo`)) as { bytes: number };
    expect(form.bytes).toBeGreaterThan(UPLOAD.length);
  });

  it("downloads whole, in part, at a slow pace, and goes on where it stopped", async () => {
    await curl("-o", "whole", `${base}/file`);
    expect(readFileSync(join(folder, "whole")).equals(FILE)).toBe(true);
    await curl("-r", "5-104", "-o", "part", `${base}/file`);
    expect(readFileSync(join(folder, "part")).equals(FILE.subarray(5, 105))).toBe(true);
    await curl("--limit-rate", "3M", "-o", "slow", `${base}/file`);
    expect(readFileSync(join(folder, "slow")).equals(FILE)).toBe(true);
    await curl("--http1.0", "-o", "old", `${base}/file`);
    expect(readFileSync(join(folder, "old")).equals(FILE)).toBe(true);
  });

  it("reads heads, empty answers and trailers, on one connection", async () => {
    const written = await curl(
      ...["-w", "%{http_code} %{num_connects}\n", "-o", "/dev/null", "-I", `${base}/file`],
      ...["--next", "-sS", "-H", `Authorization: ${BEARER}`, "-w", "%{http_code} %{num_connects}\n", `${base}/nothing`],
      ...["--next", "-sS", "-H", `Authorization: ${BEARER}`, "-H", `If-None-Match: ${ETAG}`],
      ...["-w", "%{http_code} %{num_connects}\n", `${base}/file`],
      ...[
        "--next",
        "-sS",
        "-H",
        `Authorization: ${BEARER}`,
        "-w",
        "\n%{http_code} %{num_connects}\n",
        `${base}/trailers`,
      ],
    );
    expect(written).toBe("200 1\n204 0\n304 0\nabc\n200 0\n");
  });

  it("says 22 and shows the status where it is refused", async () => {
    await expect(run("curl", ["-fsS", `${base}/file`])).rejects.toMatchObject({ code: 22 });
  });
});

describe.runIf(has("python3"))("Python's http.client", () => {
  it("uploads, downloads and reuses its connection", async () => {
    const program = `
import hashlib, http.client, json, sys
port, key, path = int(sys.argv[1]), sys.argv[2], sys.argv[3]
data = open(path, "rb").read()
one = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
auth = {"Authorization": "Bearer " + key}
seen = []
def ask(method, url, body=None, headers={}, **more):
    one.request(method, url, body, {**auth, **headers}, **more)
    reply = one.getresponse()
    read = reply.read()
    seen.append([reply.status, len(read), hashlib.sha256(read).hexdigest()])
    return read
print(ask("POST", "/echo", data).decode())
print(ask("POST", "/echo", (data[i:i + 65536] for i in range(0, len(data), 65536)), encode_chunked=True).decode())
sock = one.sock
ask("GET", "/file")
ask("HEAD", "/file")
ask("GET", "/file", headers={"Range": "bytes=0-9"})
ask("GET", "/nothing")
ask("GET", "/trailers")
assert one.sock is sock, "another connection"
print(json.dumps(seen[2:]))
`;
    const { stdout } = await run("python3", ["-c", program, String(gateway.port), KEYS.OK, join(folder, "upload")]);
    const [whole, chunked, rest] = stdout
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line));
    expect([whole, chunked]).toEqual([UPLOADED, UPLOADED]);
    expect(rest).toEqual([
      [200, FILE.length, sha256(FILE)],
      [200, 0, sha256("")],
      [206, 10, sha256(FILE.subarray(0, 10))],
      [204, 0, sha256("")],
      [200, 3, sha256("abc")],
    ]);
  });
});

describe.runIf(has("ab"))("ab, which speaks HTTP/1.0", () => {
  it.each([
    ["a connection for each request", []],
    ["keep-alive", ["-k"]],
  ])("loses none of 500 requests with %s", async (_, options) => {
    const args = [...options, "-q", "-n", "500", "-c", "10", "-H", `Authorization: ${BEARER}`, `${base}/echo`];
    const { stdout } = await run("ab", args);
    expect(/Complete requests: +(\d+)/.exec(stdout)?.[1]).toBe("500");
    expect(/Failed requests: +(\d+)/.exec(stdout)?.[1]).toBe("0");
    expect(stdout).not.toContain("Non-2xx");
  });
});
