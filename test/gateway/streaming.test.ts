import {
  createServer,
  request as httpRequest,
  type IncomingMessage,
  type Server,
  type ServerResponse,
} from "node:http";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type RunningGateway, startGateway } from "../support/gateway.ts";
import { RawClient } from "../support/raw-client.ts";
import { auth, KEYS, RIG_KEYRING } from "../support/rig.ts";

const GIB = 1024 ** 3;
const MIB = 1024 ** 2;

/** What the process may grow by while a gigabyte goes through, whatever the garbage collector's mood. */
const ROOM = 192 * MIB;

let gateway: RunningGateway;
let upstream: Server;
let handler: (request: IncomingMessage, response: ServerResponse) => void = () => {};

beforeAll(async () => {
  upstream = createServer((request, response) => handler(request, response));
  await new Promise<void>((done) => upstream.listen(0, "127.0.0.1", done));
  const address = upstream.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  gateway = await startGateway({
    config: {
      upstreams: [{ name: "app", targets: [`http://127.0.0.1:${port}`], timeouts: { response: "1s", idle: "5s" } }],
      routes: [{ name: "app", match: { pathPrefix: "/app" }, maxBodySize: "2GiB", upstream: "app" }],
    },
    keyring: RIG_KEYRING,
  });
});
afterAll(async () => {
  upstream?.closeAllConnections();
  upstream?.close();
  await gateway?.stop();
});

const authorization = `Bearer ${KEYS.OK}`;

function get(path = "/app"): Promise<IncomingMessage> {
  return new Promise((done, failed) => {
    httpRequest({ port: gateway.port, host: "127.0.0.1", path, headers: { authorization }, agent: false }, done)
      .on("error", failed)
      .end();
  });
}

/** The most memory that the gateway had while `work` ran, over what it had before. */
async function growthDuring(work: () => Promise<void>): Promise<number> {
  const before = gateway.rssBytes();
  let peak = before;
  const watch = setInterval(() => {
    peak = Math.max(peak, gateway.rssBytes());
  }, 20);
  await work().finally(() => clearInterval(watch));
  return peak - before;
}

describe("streaming", () => {
  it("server-sent events arrive one by one, as they are sent, past the response time-out", async () => {
    let send: (event: string) => void = () => {};
    handler = (_, response) => {
      response.writeHead(200, { "Content-Type": "text/event-stream" });
      response.write(": hello\n\n");
      send = (event) => response.write(`data: ${event}\n\n`);
    };
    const stream = await get();
    stream.setEncoding("utf8");
    const next = () => new Promise<string>((done) => stream.once("data", done));
    expect(await next()).toBe(": hello\n\n");
    for (const event of ["one", "two", "three"]) {
      // Each is awaited before the next is sent: nothing in between may hold it back.
      const arrived = next();
      if (event === "three") await new Promise((done) => setTimeout(done, 1300));
      send(event);
      expect(await arrived).toBe(`data: ${event}\n\n`);
    }
    stream.destroy();
  });

  it("a long poll is answered when there is something to say", async () => {
    handler = (_, response) => setTimeout(() => response.end("at last"), 700);
    const answer = await get();
    const body: Buffer[] = [];
    for await (const chunk of answer) body.push(chunk);
    expect(Buffer.concat(body).toString()).toBe("at last");
  });

  it("a request's body reaches the upstream while it is still being sent, and the answer likewise", async () => {
    const heard: string[] = [];
    let hear: () => void = () => {};
    handler = (request, response) => {
      response.writeHead(200);
      request.on("data", (chunk) => {
        heard.push(String(chunk));
        response.write(`echo ${chunk}`);
        hear();
      });
      request.on("end", () => response.end());
    };
    const client = await RawClient.connect(gateway.port);
    await client.write(`POST /app HTTP/1.1\r\nHost: gw\r\n${auth()}Transfer-Encoding: chunked\r\n\r\n`);
    for (const word of ["one", "two", "six"]) {
      const arrived = new Promise<void>((done) => {
        hear = done;
      });
      await client.write(`3\r\n${word}\r\n`);
      await arrived;
      await client.until(() => client.received.includes(`echo ${word}`));
    }
    await client.write("0\r\n\r\n");
    expect((await client.answer())?.body.toString()).toBe("echo oneecho twoecho six");
    expect(heard).toEqual(["one", "two", "six"]);
    client.destroy();
  });

  it.each([
    ["with a length", { "content-length": String(GIB) }],
    ["in chunks", { "transfer-encoding": "chunked" }],
  ])(
    "1 GiB goes up %s, whole, in bounded memory",
    async (_, framing) => {
      let received = 0;
      handler = (request, response) => {
        request.on("data", (chunk: Buffer) => {
          received += chunk.length;
        });
        request.on("end", () => response.end(String(received)));
      };
      const growth = await growthDuring(async () => {
        const text = await upload(framing);
        expect(text).toBe(String(GIB));
      });
      console.log(`1 GiB up: memory grew by ${(growth / MIB).toFixed(0)} MiB at most`);
      expect(received).toBe(GIB);
      expect(growth).toBeLessThan(ROOM);
    },
    120_000,
  );

  it.each(["quick", "slow"])(
    "1 GiB comes down to a %s reader, whole, in bounded memory",
    async (pace) => {
      handler = (_, response) => {
        response.writeHead(200, { "Content-Length": String(GIB) });
        const chunk = Buffer.alloc(MIB, 7);
        let left = GIB / MIB;
        const more = () => {
          while (left > 0) {
            left -= 1;
            if (!response.write(chunk)) {
              response.once("drain", more);
              return;
            }
          }
          response.end();
        };
        more();
      };
      const growth = await growthDuring(async () => {
        const answer = await get();
        let received = 0;
        let mark = 0;
        for await (const chunk of answer) {
          received += chunk.length;
          if (pace === "slow" && received - mark > 32 * MIB) {
            mark = received;
            await new Promise((done) => setTimeout(done, 20));
          }
        }
        expect(received).toBe(GIB);
      });
      console.log(`1 GiB down to a ${pace} reader: memory grew by ${(growth / MIB).toFixed(0)} MiB at most`);
      expect(growth).toBeLessThan(ROOM);
    },
    120_000,
  );

  it("a reader that stops reading stops the upstream, and is cut off at the idle time-out", async () => {
    let written = 0;
    let upstreamClosed: () => void = () => {};
    const closed = new Promise<void>((done) => {
      upstreamClosed = done;
    });
    handler = (_, response) => {
      const chunk = Buffer.alloc(64 * 1024);
      response.writeHead(200);
      const more = () => {
        while (!response.destroyed) {
          written += chunk.length;
          if (!response.write(chunk)) {
            response.once("drain", more);
            return;
          }
        }
      };
      response.on("close", upstreamClosed);
      more();
    };
    const client = await RawClient.connect(gateway.port, { paused: true });
    await client.write(`GET /app HTTP/1.1\r\nHost: gw\r\n${auth()}\r\n`);
    await closed;
    // The kernel's buffers on both connections, and little of our own.
    expect(written).toBeLessThan(64 * MIB);
    client.destroy();
  }, 20_000);
});

async function upload(framing: Record<string, string>): Promise<string> {
  const chunk = Buffer.alloc(MIB, 7);
  return new Promise((done, failed) => {
    const sent = httpRequest(
      {
        port: gateway.port,
        host: "127.0.0.1",
        path: "/app",
        method: "POST",
        headers: { authorization, ...framing },
        agent: false,
      },
      async (answer) => {
        const body: Buffer[] = [];
        for await (const part of answer) body.push(part);
        done(Buffer.concat(body).toString());
      },
    );
    sent.on("error", failed);
    let left = GIB / MIB;
    const more = () => {
      while (left > 0) {
        left -= 1;
        if (!sent.write(chunk)) {
          sent.once("drain", more);
          return;
        }
      }
      sent.end();
    };
    more();
  });
}
