import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type RunningGateway, startGateway } from "../support/gateway.ts";
import { RawClient } from "../support/raw-client.ts";
import { auth, RIG_KEYRING, rigRoutes } from "../support/rig.ts";
import { SoakUpstream } from "../support/soak-upstream.ts";
import { get, HANG_MS } from "./wire.ts";

const READERS = 100;
const MIB = 1024 * 1024;

describe("H. readers that do not read", () => {
  let upstream: SoakUpstream;
  let gateway: RunningGateway;
  beforeAll(async () => {
    upstream = await SoakUpstream.start();
    gateway = await startGateway({
      keyring: RIG_KEYRING,
      config: {
        upstreams: [{ name: "recorder", targets: [upstream.origin], timeouts: { idle: "2s" } }],
        routes: rigRoutes(),
      },
    });
  });
  afterAll(async () => {
    await gateway?.stop();
    await upstream?.stop();
  });

  it("174 a hundred who ask for an endless answer and do not read it: memory is bounded, others are served, each is closed at the idle limit", async () => {
    const stranger = await RawClient.connect(gateway.port);
    await stranger.write(get("/any/x", auth()));
    expect((await stranger.answer())?.status).toBe(200);
    const sockets = gateway.sockets();
    const before = gateway.rssBytes();

    const readers = await Promise.all(
      Array.from({ length: READERS }, () => RawClient.connect(gateway.port, { paused: true })),
    );
    for (const reader of readers) await reader.write(get("/any/endless", auth()));
    await expect.poll(() => gateway.sockets(), { timeout: HANG_MS }).toBeGreaterThan(sockets + READERS);
    await stranger.write(get("/any/x", auth()));
    expect((await stranger.answer("GET", HANG_MS))?.status).toBe(200);
    stranger.destroy();

    let most = 0;
    await expect
      .poll(
        () => {
          most = Math.max(most, gateway.rssBytes() - before);
          return gateway.sockets();
        },
        { timeout: 30_000, interval: 50 },
      )
      .toBeLessThanOrEqual(sockets);
    console.info(`slow readers: ${Math.round(most / MIB)} MiB more at most, for ${READERS} of them`);
    expect(most).toBeLessThan(128 * MIB);
    for (const reader of readers) reader.destroy();
  }, 60_000);
});
