import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { isFault } from "../src/faults/fault.ts";
import type { Tunnel } from "../src/forward/forwarder.ts";
import { readHead } from "../src/head.ts";
import { type KeySource, SourceUnavailable } from "../src/keys/source.ts";
import type { Snapshot } from "../src/snapshot.ts";
import { watchTunnels } from "../src/tunnels.ts";
import { recordOf } from "./support/key-parts.ts";

const STALE_MS = 60_000;

describe("an open tunnel whose key nobody can tell about", () => {
  beforeEach(() => void vi.useFakeTimers({ toFake: ["setInterval", "clearInterval", "Date", "performance"] }));
  afterEach(() => void vi.useRealTimers());

  it.each([
    ["memory does not know it either", 0],
    ["memory serves its record on for the whole of staleIfError", STALE_MS],
  ])("is closed staleIfError after the source's last word, where %s", async (_where, servedMs) => {
    const askedAt = Date.now();
    const find: KeySource["find"] = () => {
      // Memory's last answer is given just before the record is too old.
      if (Date.now() - askedAt < Math.max(servedMs, 2000))
        return { record: recordOf("a"), asOf: askedAt, tier: "memory" };
      throw new SourceUnavailable("down");
    };
    const closedAfter = await lifetimeOf(find);
    expect(closedAfter).toBeGreaterThanOrEqual(STALE_MS);
    expect(closedAfter).toBeLessThanOrEqual(STALE_MS + 1000);
  });

  it("does not live longer when the clock is set back meanwhile", async () => {
    const askedAt = Date.now();
    let answers = 0;
    const find: KeySource["find"] = () => {
      if (answers++ === 1) vi.setSystemTime(askedAt - 3_600_000);
      if (answers <= 30) return { record: recordOf("a"), asOf: askedAt, tier: "memory" };
      throw new SourceUnavailable("down");
    };
    expect(await lifetimeOf(find)).toBeLessThanOrEqual(STALE_MS + 1000);
  });
});

/** Milliseconds until a tunnel is closed that is judged by what `find` says. */
async function lifetimeOf(find: KeySource["find"]): Promise<number> {
  const begun = performance.now();
  let closedAt = Number.NaN;
  const tunnel = { exchange: { ...exchangeWith(find), startedAt: begun }, close: () => (closedAt = performance.now()) };
  const stop = watchTunnels({
    tunnels: new Set([tunnel as unknown as Tunnel]),
    staleIfErrorMs: STALE_MS,
    onRevoked: () => {},
    onError: (error) => expect(error).toBeUndefined(),
  });
  while (Number.isNaN(closedAt) && performance.now() - begun < 10 * STALE_MS) await vi.advanceTimersByTimeAsync(1000);
  stop();
  return closedAt - begun;
}

function exchangeWith(find: KeySource["find"]): Pick<Tunnel["exchange"], "head" | "snapshot"> {
  const limits = { headerLines: 100, headerBytes: 16_384, targetBytes: 8192, viaToken: "test" };
  const head = readHead("GET", "/ws", "1.1", ["Host", "a", "Authorization", "Bearer unkey_a"], limits);
  if (isFault(head)) throw new Error(head.detail);
  const route = { access: { kind: "rootKey", requires: null }, rewrite: null };
  const table = { find: () => ({ kind: "found", route, params: {} }) };
  const snapshot = { table, keys: { find }, keyPrefix: "unkey_", now: Date.now } as unknown as Snapshot;
  return { head, snapshot };
}
