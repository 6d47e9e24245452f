import { afterAll, beforeAll, expect, it } from "vitest";
import { startGateway } from "../support/gateway.ts";
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

it("without it no answer says so", async () => {
  expect(await serverTimings({})).toEqual([null, null]);
});
