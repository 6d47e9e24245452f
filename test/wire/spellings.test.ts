import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { dispatchedSpellings, HOST } from "../routes/dispatching-servers.ts";
import { generateSpellings } from "../routes/spellings.ts";
import { valuesOf } from "../support/http-parsers.ts";
import { RawClient } from "../support/raw-client.ts";
import { Rig, rigRoutes } from "../support/rig.ts";
import { formatFindings } from "./wire.ts";

/**
 * 089: thousands of spellings, sent to a running gateway whose whole site is open but for /admin. What nginx, Express,
 * Fastify, Hono or a server that decodes and normalises would hand to its /admin never reaches the upstream.
 */
const AT_ONCE = 64;

let runs = 0;

/** Sends every target on a connection of its own, without a key; gives the targets that reached the upstream. */
async function reach(rig: Rig, targets: readonly string[]): Promise<Map<string, string>> {
  rig.upstream.reset();
  // Connections from before stay open, with what they carried: the run tells it apart.
  const run = ++runs;
  const waiting = targets.map((target, index) => ({ target, index }));
  const ask = async () => {
    for (let each = waiting.pop(); each !== undefined; each = waiting.pop()) {
      const client = await RawClient.connect(rig.gateway.port);
      await client.write(
        `GET ${each.target} HTTP/1.1\r\nHost: ${HOST}\r\nX-Spelling: ${run} ${each.index}\r\nConnection: close\r\n\r\n`,
      );
      await client.closed();
      client.destroy();
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, ask));
  const reached = new Map<string, string>();
  for (const request of rig.upstream.requests()) {
    const [ofRun, index] = (valuesOf(request, "x-spelling")[0] ?? "").split(" ");
    if (Number(ofRun) === run) reached.set(targets[Number(index)] ?? "", request.target);
  }
  return reached;
}

describe("spellings of a guarded path, over the wire", () => {
  const routes = [
    ...rigRoutes().filter(({ name }) => name === "fence" || name === "admin"),
    { name: "site", match: { pathPrefix: "/" }, auth: "none", allowOverlap: true, upstream: "recorder" },
  ];
  const targets = generateSpellings(HOST);
  let rig: Rig;
  let dispatched: ReadonlyMap<string, readonly string[]>;
  let reached: ReadonlyMap<string, string>;

  beforeAll(async () => {
    dispatched = new Map((await dispatchedSpellings()).map(({ target, servers }) => [target, servers]));
    rig = await Rig.start({ routes });
    reached = await reach(rig, targets);
  }, 120_000);
  afterAll(() => rig?.stop());

  it("089 none of those that a real server hands to its guarded handler reaches the upstream", async () => {
    expect(targets.length).toBeGreaterThanOrEqual(5000);
    expect(dispatched.size).toBeGreaterThan(500);
    const passed = [...reached.keys()].filter((target) => dispatched.has(target));
    expect(passed.map((target) => `${target}: ${dispatched.get(target)}`)).toEqual([]);
    expect(formatFindings(await rig.settle())).toBe("");
  });

  it("089 others do: the gateway is not just closed", () => {
    expect(reached.size).toBeGreaterThan(50);
  });

  it("090 what is sent on is a fixed point: sent again, it goes on as it is", async () => {
    const forwarded = [...new Set(reached.values())];
    const again = await reach(rig, forwarded);
    expect([...again].filter(([sent, got]) => sent !== got)).toEqual([]);
    expect(again.size).toBe(forwarded.length);
  });

  it("089 a naive gateway lets hundreds of them through", async () => {
    const naive = await Rig.startNaive(routes);
    try {
      const through = await reach(naive, [...dispatched.keys()]);
      expect(through.size).toBeGreaterThan(100);
    } finally {
      await naive.stop();
    }
  }, 60_000);
});
