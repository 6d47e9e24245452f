import { once } from "node:events";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { answerWhole, canAnswerWhole, formatFields, formatStatusLine } from "../src/answer.ts";
import { Exchange, type Peer } from "../src/exchange.ts";
import { NodeMessages } from "../src/inbound/node-messages.ts";
import { RawClient } from "./support/raw-client.ts";

const KEEP_ALIVE_SECONDS = 75;
const PEER: Peer = { clientIp: "192.0.2.7", trusted: false, address: "192.0.2.7", scheme: "http", port: 8080 };

type Handle = (exchange: Exchange) => void;

let server: Server;
let port: number;
let handle: Handle;
const ended: Exchange[] = [];

function exchangeOf(request: IncomingMessage, response: ServerResponse): Exchange {
  const exchange = new Exchange(new NodeMessages(request, response), "req_2c9a0jf23l4k567", PEER, 0);
  exchange.keepAliveFields = `Connection: keep-alive\r\nKeep-Alive: timeout=${KEEP_ALIVE_SECONDS}\r\n`;
  response.on("close", () => ended.push(exchange));
  return exchange;
}

beforeAll(async () => {
  server = createServer({ keepAliveTimeout: KEEP_ALIVE_SECONDS * 1000 }, (request, response) =>
    handle(exchangeOf(request, response)),
  );
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  port = (server.address() as AddressInfo).port;
});
afterAll(() => {
  server.closeAllConnections();
  server.close();
});

/** Both ways to answer: as node does it, and as one string. */
function answerBothWays(status: number, reason: string, headers: string[], body: string): void {
  handle = (exchange) => {
    const { request, response } = exchange;
    if (request.url === "/node") {
      response.writeHead(status, reason, headers);
      response.end(Buffer.from(body, "latin1"));
      return;
    }
    expect(canAnswerWhole(exchange)).toBe(true);
    const dated = headers.some((text, at) => at % 2 === 0 && text.toLowerCase() === "date");
    const sent = request.method === "HEAD" ? "" : body;
    answerWhole(exchange, status, formatStatusLine(status, reason), formatFields(headers), dated, sent);
  };
}

async function bytesOf(client: RawClient, method: string, target: string): Promise<string> {
  const from = client.received.length;
  await client.write(`${method} ${target} HTTP/1.1\r\nHost: a\r\n\r\n`);
  expect(await client.answer(method)).not.toBeNull();
  return client.received.subarray(from).toString("latin1");
}

describe("an answer in one piece", () => {
  const field = fc.tuple(
    fc.constantFrom("X-A", "x-b", "Set-Cookie", "ETag", "Vary", "Date"),
    fc.stringMatching(/^[!-~\xa1-\xff]([\t -~\xa1-\xff]{0,20}[!-~\xa1-\xff])?$/),
  );

  it("is the same bytes that ServerResponse sends", async () => {
    const client = await RawClient.connect(port);
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(200, 201, 400, 404, 503),
        fc.constantFrom("OK", "", "Not Found", "caf\xe9"),
        fc.array(field, { maxLength: 6 }),
        fc.stringMatching(/^[\x00-\xff]{0,200}$/),
        fc.constantFrom("GET", "HEAD", "POST"),
        async (status, reason, fields, body, method) => {
          const headers = [...fields.flat(), "Content-Length", String(body.length)];
          answerBothWays(status, reason, headers, body);
          const [ours, nodes] = [await bytesOf(client, method, "/ours"), await bytesOf(client, method, "/node")];
          const undated = (text: string) => text.replace(/^Date: \w{3}, .* GMT\r\n/m, "Date\r\n");
          expect(undated(ours)).toBe(undated(nodes));
        },
      ),
      { numRuns: 300 },
    );
    client.destroy();
  });

  it("carries the time of now", async () => {
    const client = await RawClient.connect(port);
    answerBothWays(200, "OK", ["Content-Length", "0"], "");
    const date = /^Date: (.*)\r$/m.exec(await bytesOf(client, "GET", "/ours"))?.[1] ?? "";
    expect(Math.abs(Date.now() - Date.parse(date))).toBeLessThan(60_000);
    client.destroy();
  });

  it("lets pipelined requests follow in order, also behind one that node answers", async () => {
    const client = await RawClient.connect(port);
    answerBothWays(200, "OK", ["Content-Length", "2"], "ok");
    const either = handle;
    const ways: string[] = [];
    handle = (exchange) => {
      // One whose turn has not come is node's to put in line.
      if (!canAnswerWhole(exchange)) exchange.request.url = "/node";
      ways.push(exchange.request.url ?? "");
      either(exchange);
    };
    const targets = ["/ours", "/node", "/ours", "/ours", "/node"];
    await client.write(targets.map((target) => `GET ${target} HTTP/1.1\r\nHost: a\r\n\r\n`).join(""));
    for (const _ of targets) expect((await client.answer())?.body.toString()).toBe("ok");
    expect(ways).toContain("/ours");
    client.destroy();
  });

  it("ends its exchange once the client has taken it, and not before", async () => {
    const client = await RawClient.connect(port, { paused: true });
    const body = "x".repeat(16 * 1024 * 1024);
    const answered = new Promise<Exchange>((resolve) => {
      handle = (exchange) => {
        const fields = formatFields(["Content-Length", String(body.length)]);
        answerWhole(exchange, 200, formatStatusLine(200, "OK"), fields, false, body);
        resolve(exchange);
      };
    });
    await client.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    const exchange = await answered;
    await new Promise((turn) => setImmediate(turn));
    expect(ended.includes(exchange)).toBe(false);
    expect(canAnswerWhole(exchange)).toBe(false);
    const over = once(exchange.response, "close");
    client.socket.resume();
    await over;
    expect((await client.answer())?.body.length).toBe(body.length);
    client.destroy();
  });

  it("is not sent where the connection ends with it, or something was sent before", async () => {
    const client = await RawClient.connect(port);
    const could: boolean[] = [];
    handle = (exchange) => {
      const { response } = exchange;
      response.shouldKeepAlive = false;
      could.push(canAnswerWhole(exchange));
      response.shouldKeepAlive = true;
      could.push(canAnswerWhole(exchange));
      response.writeHead(204, []);
      could.push(canAnswerWhole(exchange));
      response.end();
    };
    await client.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    expect((await client.answer())?.status).toBe(204);
    expect(could).toEqual([false, true, false]);
    client.destroy();
  });
});
