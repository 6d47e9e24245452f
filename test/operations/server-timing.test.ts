import { afterAll, beforeAll, expect, it } from "vitest";
import { startGateway } from "../support/gateway.ts";
import { RawClient } from "../support/raw-client.ts";
import { auth, RIG_KEYRING } from "../support/rig.ts";
import { post } from "../wire/wire.ts";
import { NamedUpstream } from "./load.ts";

let upstream: NamedUpstream;
beforeAll(async () => {
  upstream = await NamedUpstream.start("orders");
});
afterAll(() => upstream.stop());

async function serverTimings(change: Record<string, unknown>): Promise<(string | null)[]> {
  const gateway = await startGateway({
    keyring: { keys: [] },
    config: {
      upstreams: [{ name: "orders", targets: [upstream.origin] }],
      routes: [
        { name: "open", match: { path: "/open" }, auth: "none", upstream: "orders" },
        { name: "guarded", match: { path: "/guarded" }, upstream: "orders" },
      ],
      ...change,
    },
  });
  const replies = [await fetch(`${gateway.origin}/open`), await fetch(`${gateway.origin}/guarded`)];
  await gateway.stop();
  return replies.map((reply) => reply.headers.get("server-timing"));
}

it("serverTiming says in every answer how long the gateway and the upstream took", async () => {
  const [forwarded, refused] = await serverTimings({ serverTiming: true });
  expect(forwarded).toMatch(/^gateway;dur=\d+(\.\d+)?, upstream;dur=\d+(\.\d+)?$/);
  expect(refused).toMatch(/^gateway;dur=\d+(\.\d+)?$/);
});

it("the wait for a client's body is not the gateway's, and is taken off once", async () => {
  const gateway = await startGateway({
    keyring: RIG_KEYRING,
    config: {
      serverTiming: true,
      upstreams: [{ name: "orders", targets: [upstream.origin] }],
      routes: [
        { name: "open", match: { path: "/open" }, auth: "none", upstream: "orders" },
        { name: "by-body", permissions: "api.{body.apiId}.nobody_may", upstream: "orders" },
      ],
    },
  });
  const client = await RawClient.connect(gateway.port);
  const request = post("/by-body", '{"apiId":"a"}', `${auth()}Content-Type: application/json\r\n`);
  await client.write(request.slice(0, -5));
  // The gateway's share of one request is less than thirty whole exchanges, which the rest of the body waits for.
  for (let asked = 0; asked < 30; asked++) await (await fetch(`${gateway.origin}/open`)).text();
  await client.write(request.slice(-5));
  const refused = await client.answer("POST");
  expect(refused?.status).toBe(403);
  const [, share] = /Server-Timing: gateway;dur=([\d.]+)/.exec(client.received.toString()) ?? [];
  expect(Number(share)).toBeGreaterThan(0);
  client.destroy();
  await gateway.stop();
});

it("without it no answer says so", async () => {
  expect(await serverTimings({})).toEqual([null, null]);
});
