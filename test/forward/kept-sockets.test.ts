import { createServer, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { UpstreamEngine, UpstreamOrigin, UpstreamRequest } from "../../src/forward/forwarder.ts";
import { createSocketEngine } from "../../src/forward/socket-engine.ts";
import { RecordingHandler, rested, upstreamRequest } from "./support.ts";

/** An upstream that answers when told to. */
class Upstream {
  readonly server: Server;
  readonly origin: UpstreamOrigin;
  opened = 0;
  open = 0;
  readonly waiting: ServerResponse[] = [];

  private constructor(server: Server) {
    this.server = server;
    this.origin = { hostname: "127.0.0.1", port: (server.address() as AddressInfo).port, tls: null };
    server.on("connection", (socket) => {
      this.opened += 1;
      this.open += 1;
      socket.on("close", () => {
        this.open -= 1;
      });
    });
    server.on("request", (_, response) => this.waiting.push(response));
  }

  static async start(): Promise<Upstream> {
    const server = createServer();
    await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
    return new Upstream(server);
  }
}

describe("connections to upstreams that are kept", () => {
  let engine: UpstreamEngine;
  let one: Upstream;
  let other: Upstream;
  beforeEach(async () => {
    [one, other] = [await Upstream.start(), await Upstream.start()];
  });
  afterEach(() => {
    engine.close();
    for (const { server } of [one, other]) {
      server.closeAllConnections();
      server.close();
    }
  });

  /** So many requests at once, answered when all of them have arrived. */
  async function askAtOnce(upstream: Upstream, count: number, changes: Partial<UpstreamRequest> = {}): Promise<void> {
    const answer = await arrive(upstream, count, changes);
    await answer();
  }

  /** So many requests under way at once, until what this gives is called. */
  async function arrive(upstream: Upstream, count: number, changes: Partial<UpstreamRequest> = {}) {
    const handlers = Array.from({ length: count }, () => new RecordingHandler());
    for (const handler of handlers) engine.send(upstreamRequest(upstream.origin, changes), handler);
    await expect.poll(() => upstream.waiting.length, { timeout: 10_000 }).toBe(count);
    return async () => {
      for (const response of upstream.waiting.splice(0)) response.end("ok");
      for (const handler of handlers) expect((await handler.finished()).body).toBe("ok");
      await rested();
    };
  }

  it("are as many as were used at once: the same 2,000 requests again open none", async () => {
    engine = createSocketEngine({ idleSocketMs: 60_000 });
    await askAtOnce(one, 2000);
    await askAtOnce(one, 2000);
    expect(one.opened).toBe(2000);
  }, 60_000);

  it("are no more than allowed, in all: idle ones to another upstream go first", async () => {
    engine = createSocketEngine({ idleSocketMs: 60_000, keptSocketsMax: 10 });
    await askAtOnce(one, 8);
    await askAtOnce(other, 6);
    await expect.poll(() => one.open).toBe(4);
    expect(other.open).toBe(6);
    // What is under way is never given up for it.
    await askAtOnce(other, 15);
    await expect.poll(() => one.open + other.open).toBe(10);
    expect(one.open).toBe(0);
  });

  it("are no more than allowed, in all, where each upstream had no more than that many", async () => {
    engine = createSocketEngine({ idleSocketMs: 60_000, keptSocketsMax: 10 });
    const answers = [await arrive(one, 8), await arrive(other, 8)];
    for (const answer of answers) await answer();
    await expect.poll(() => one.open + other.open).toBe(10);
  });

  it("are none for an origin that is forgotten, though a request that began before still comes for it", async () => {
    engine = createSocketEngine({ idleSocketMs: 60_000 });
    await askAtOnce(one, 2);
    engine.forget(one.origin);
    await askAtOnce(one, 3);
    await expect.poll(() => one.open).toBe(0);
    expect(one.opened).toBe(5);
  });

  /** So many at a time, each asking again within the very call that ends its answer. */
  async function askOnAndOn(upstream: Upstream, clients: number, rounds: number): Promise<void> {
    upstream.server.removeAllListeners("request");
    upstream.server.on("request", (_, response) => response.end("ok"));
    const askAgain = (left: number, done: () => void) => {
      const handler = new RecordingHandler();
      const end = handler.onEnd.bind(handler);
      handler.onEnd = (trailers) => {
        end(trailers);
        expect(handler.body).toBe("ok");
        if (left > 1) askAgain(left - 1, done);
        else done();
      };
      engine.send(upstreamRequest(upstream.origin), handler);
    };
    await Promise.all(Array.from({ length: clients }, () => new Promise<void>((done) => askAgain(rounds, done))));
  }

  it("rest for a moment: who asks within the very call that ends an answer gets another", async () => {
    engine = createSocketEngine({ idleSocketMs: 60_000 });
    await askOnAndOn(one, 1, 50);
    expect(one.opened).toBeGreaterThan(1);
    expect(one.opened).toBeLessThan(10);
  });

  it("are hardly more than are busy at once, since under load a request waits for one that rests", async () => {
    engine = createSocketEngine({ idleSocketMs: 60_000 });
    await askOnAndOn(one, 200, 20);
    expect(one.opened).toBeLessThan(260);
  });

  it("are not given to a request that was given up while it waited for one", async () => {
    engine = createSocketEngine({ idleSocketMs: 60_000 });
    const handlers = Array.from({ length: 50 }, () => new RecordingHandler());
    for (const handler of handlers) engine.send(upstreamRequest(one.origin), handler);
    await expect.poll(() => one.waiting.length, { timeout: 10_000 }).toBe(50);
    for (const handler of handlers) {
      const end = handler.onEnd.bind(handler);
      handler.onEnd = (trailers) => {
        end(trailers);
        engine.send(upstreamRequest(one.origin), new RecordingHandler()).abort();
      };
    }
    for (const response of one.waiting.splice(0)) response.end("ok");
    for (const handler of handlers) await handler.finished();
    await rested();
    await askAtOnce(one, 1);
  });

  describe("that are idle", () => {
    const ONCE = { repeatable: false, method: "POST" };

    beforeEach(() => {
      vi.useFakeTimers({ toFake: ["setInterval", "clearInterval"] });
      // Else node:http says how long it waits, and closes what waits longer.
      one.server.keepAliveTimeout = 0;
      engine = createSocketEngine();
    });
    afterEach(() => {
      vi.useRealTimers();
    });

    it("take any request for four seconds", async () => {
      await askAtOnce(one, 1);
      vi.advanceTimersByTime(3_900);
      await askAtOnce(one, 1, ONCE);
      expect(one.opened).toBe(1);
    });

    it("take after that only what is repeatable, which another connection takes if the upstream closes this one", async () => {
      await askAtOnce(one, 2);
      vi.advanceTimersByTime(30_000);
      await askAtOnce(one, 1, ONCE);
      expect(one.opened).toBe(3);
      await askAtOnce(one, 2);
      expect(one.opened).toBe(3);
    });

    it("take any request again for four seconds after each answer", async () => {
      await askAtOnce(one, 1);
      vi.advanceTimersByTime(30_000);
      await askAtOnce(one, 1);
      vi.advanceTimersByTime(3_000);
      await askAtOnce(one, 1, ONCE);
      expect(one.opened).toBe(1);
    });

    it("are closed when they are a minute old", async () => {
      await askAtOnce(one, 1);
      vi.advanceTimersByTime(40_000);
      await askAtOnce(one, 1);
      vi.advanceTimersByTime(19_900);
      expect(one.open).toBe(1);
      vi.advanceTimersByTime(200);
      await expect.poll(() => one.open).toBe(0);
    });

    it("are closed after their long time too", async () => {
      engine = createSocketEngine({ longIdleSocketMs: 10_000 });
      await askAtOnce(one, 1);
      vi.advanceTimersByTime(10_200);
      await expect.poll(() => one.open).toBe(0);
    });

    it("are no more than allowed after four seconds: what a burst left is closed", async () => {
      engine = createSocketEngine({ longIdleSocketsMax: 5 });
      await askAtOnce(one, 20);
      vi.advanceTimersByTime(3_900);
      expect(one.open).toBe(20);
      vi.advanceTimersByTime(200);
      await expect.poll(() => one.open).toBe(5);
      await askAtOnce(one, 5);
      expect(one.opened).toBe(20);
    });

    it("take any request for as long as the upstream says, less a second, and no longer", async () => {
      one.server.keepAliveTimeout = 10_000;
      await askAtOnce(one, 1);
      vi.advanceTimersByTime(8_900);
      await askAtOnce(one, 1, ONCE);
      expect(one.opened).toBe(1);
      vi.advanceTimersByTime(9_200);
      await expect.poll(() => one.open).toBe(0);
    });

    it("do not pile up for what comes every few seconds and must not be sent again, as checks and POSTs", async () => {
      for (let i = 0; i < 12; i++) {
        await askAtOnce(one, 1, ONCE);
        vi.advanceTimersByTime(4_900);
      }
      await expect.poll(() => one.open).toBe(1);
    });

    it("are as many after a burst that must not be sent again as before it", async () => {
      await askAtOnce(one, 20);
      vi.advanceTimersByTime(10_000);
      await askAtOnce(one, 5, ONCE);
      await expect.poll(() => one.open).toBe(20);
      await askAtOnce(one, 20);
      expect(one.opened).toBe(25);
    });

    it("are no more than allowed after four seconds also where the upstream would wait for longer", async () => {
      one.server.keepAliveTimeout = 50_000;
      engine = createSocketEngine({ longIdleSocketsMax: 5 });
      await askAtOnce(one, 20);
      vi.advanceTimersByTime(4_200);
      await expect.poll(() => one.open).toBe(5);
      vi.advanceTimersByTime(30_000);
      await askAtOnce(one, 5, ONCE);
      expect(one.opened).toBe(20);
    });

    it("leave the upstream a tenth of the time that it says: ticks come some percent late, under load more", async () => {
      one.server.keepAliveTimeout = 50_000;
      await askAtOnce(one, 1);
      vi.advanceTimersByTime(44_900);
      expect(one.open).toBe(1);
      vi.advanceTimersByTime(200);
      await expect.poll(() => one.open).toBe(0);
    });
  });
});
