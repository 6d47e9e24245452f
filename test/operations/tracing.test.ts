import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type GatewayOptions, type GatewayRecord, type RunningGateway, startGateway } from "../support/gateway.ts";

const TRACE_ID = "0af7651916cd43dd8448eb211c80319c";
const CLIENT_SPAN = "b7ad6b7169203331";
const CLIENT = `00-${TRACE_ID}-${CLIENT_SPAN}-01`;

/** Every traceparent and tracestate that reached the upstream, as sent. */
const received: string[][] = [];
let upstream: Server;
beforeAll(async () => {
  upstream = createServer((request, response) => {
    received.push(request.rawHeaders.filter((_, at, all) => /^trace/i.test(all[at - (at % 2)] ?? "")));
    if (request.url === "/reset") request.socket.destroy();
    else response.end("{}");
  });
  await new Promise<void>((listening) => upstream.listen(0, "127.0.0.1", listening));
});
afterAll(() => void upstream.close());

function launch(nodeOptions: readonly string[] = []): Promise<RunningGateway> {
  const { port } = upstream.address() as AddressInfo;
  const options: GatewayOptions = {
    keyring: { keys: [] },
    config: {
      upstreams: [{ name: "orders", targets: [`http://127.0.0.1:${port}`] }],
      routes: [
        { name: "apis", match: { path: "/v2/apis/{apiId}" }, auth: "none", upstream: "orders" },
        { name: "reset", match: { path: "/reset" }, auth: "none", upstream: "orders" },
        { name: "guarded", match: { path: "/guarded" }, upstream: "orders" },
      ],
    },
    nodeOptions,
  };
  return startGateway(options);
}

describe("with an SDK that was registered before the start", () => {
  let gateway: RunningGateway;
  beforeAll(async () => {
    gateway = await launch(["--import", pathToFileURL(resolve("test/operations/tracing-sdk.mjs")).href]);
  });
  afterAll(() => gateway?.stop());

  /** The spans of one request: the server's, and those of its tries in order. */
  async function spansOf(traceId: string, count: number): Promise<GatewayRecord[]> {
    const spans = () => gateway.logs().filter((line) => line.event === "span" && line.traceId === traceId);
    await expect.poll(() => spans().length, { timeout: 5000 }).toBe(count);
    return spans().sort((one, other) => Number(one.kind) - Number(other.kind));
  }

  it("the client's trace goes on through a span of the request and one of the try to the upstream", async () => {
    received.length = 0;
    const headers = { traceparent: CLIENT, tracestate: "vendor=1" };
    await fetch(`${gateway.origin}/v2/apis/api_1?secret=1`, { headers });
    const [server, client] = await spansOf(TRACE_ID, 2);
    expect(server).toMatchObject({
      name: "GET /v2/apis/{apiId}",
      parent: CLIENT_SPAN,
      attributes: { "http.route": "/v2/apis/{apiId}", "url.path": "/v2/apis/api_1", "http.response.status_code": 200 },
    });
    expect(client).toMatchObject({
      name: "GET",
      parent: server?.spanId,
      attributes: { "http.response.status_code": 200 },
    });
    expect(received).toEqual([["traceparent", `00-${TRACE_ID}-${client?.spanId}-01`]]);
    expect(JSON.stringify([server, client])).not.toContain("secret");
  });

  it("each try has its own span, which says what it failed for", async () => {
    const traceId = "1".repeat(32);
    const reply = await fetch(`${gateway.origin}/reset`, {
      headers: { traceparent: `00-${traceId}-${CLIENT_SPAN}-01` },
    });
    expect(reply.status).toBe(502);
    const [server, first, second] = await spansOf(traceId, 3);
    expect(server).toMatchObject({ status: 2, attributes: { "error.type": "sentinel:upstream:bad_gateway" } });
    expect(first).toMatchObject({ status: 2, attributes: { "error.type": "reset" } });
    expect(second).toMatchObject({ attributes: { "error.type": "reset", "http.request.resend_count": 1 } });
  });

  it("a refused request is one span, and no error", async () => {
    const traceId = "2".repeat(32);
    await fetch(`${gateway.origin}/guarded`, { headers: { traceparent: `00-${traceId}-${CLIENT_SPAN}-01` } });
    const [server] = await spansOf(traceId, 1);
    expect(server).toMatchObject({ name: "GET /guarded", attributes: { "sentinel.verdict": "missing" } });
    expect(server).not.toHaveProperty("status");
  });
});

it("without one, traceparent and tracestate go through as they came", async () => {
  const gateway = await launch();
  received.length = 0;
  await fetch(`${gateway.origin}/v2/apis/api_1`, { headers: { traceparent: CLIENT, tracestate: "vendor=1" } });
  await fetch(`${gateway.origin}/v2/apis/api_1`);
  await gateway.stop();
  expect(received).toEqual([["traceparent", CLIENT, "tracestate", "vendor=1"], []]);
});
