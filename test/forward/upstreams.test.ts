import { describe, expect, it } from "vitest";
import type {
  UpstreamCall,
  UpstreamEngine,
  UpstreamError,
  UpstreamHandler,
  UpstreamOrigin,
  UpstreamRequest,
} from "../../src/forward/forwarder.ts";
import { createUpstreams, type TargetSettings, type UpstreamSettings } from "../../src/forward/upstreams.ts";

const FAILURE: UpstreamError = {
  reason: "refused",
  detail: "ECONNREFUSED",
  nothingSent: true,
  reusedSocket: false,
  answerBegun: false,
};

/** Time that passes when the test says so. */
class Schedule {
  now = 0;
  private tasks: { at: number; task: () => void }[] = [];

  readonly schedule = (task: () => void, delayMs: number): (() => void) => {
    const entry = { at: this.now + delayMs, task };
    this.tasks.push(entry);
    return () => {
      this.tasks = this.tasks.filter((each) => each !== entry);
    };
  };

  get pending(): number {
    return this.tasks.length;
  }

  pass(ms: number): void {
    const until = this.now + ms;
    for (;;) {
      const next = this.tasks.filter(({ at }) => at <= until).sort((a, b) => a.at - b.at)[0];
      if (next === undefined) break;
      this.tasks = this.tasks.filter((each) => each !== next);
      this.now = next.at;
      next.task();
    }
    this.now = until;
  }
}

/** Keeps what it is asked, answers when the test says so. */
class FakeEngine implements UpstreamEngine {
  readonly sent: { request: UpstreamRequest; handler: UpstreamHandler; aborted: boolean }[] = [];
  readonly forgotten: UpstreamOrigin[] = [];

  send(request: UpstreamRequest, handler: UpstreamHandler): UpstreamCall {
    const entry = { request, handler, aborted: false };
    this.sent.push(entry);
    return {
      write: () => "taken",
      end() {},
      pause() {},
      resume() {},
      abort() {
        entry.aborted = true;
      },
    };
  }

  forget(origin: UpstreamOrigin): void {
    this.forgotten.push(origin);
  }

  close(): void {}
}

function target(name: string, changes: Partial<TargetSettings> = {}): TargetSettings {
  return { url: `http://${name}:80`, hostname: name, port: 80, tls: null, weight: 1, ...changes };
}

function settings(targets: TargetSettings[], changes: Partial<UpstreamSettings> = {}): UpstreamSettings {
  const timeouts = { connectMs: 1, responseMs: 2, idleMs: 3 };
  return { name: "orders", targets, timeouts, healthCheck: null, ...changes };
}

function setUp(upstream: UpstreamSettings) {
  const engine = new FakeEngine();
  const time = new Schedule();
  const health: string[] = [];
  const errors: string[] = [];
  const observer = {
    upstreamHealthy: (name: string, url: string, healthy: boolean) => health.push(`${name} ${url} ${healthy}`),
    upstreamError: (name: string, reason: string) => errors.push(`${name} ${reason}`),
  };
  const upstreams = createUpstreams([upstream], engine, { observer, schedule: time.schedule });
  const orders = upstreams.find("orders")!;
  /** The hosts of the next picks, each taken to have failed or not. */
  const picks = (count: number) => Array.from({ length: count }, () => orders.pick(null)?.origin.hostname ?? "none");
  const fail = (times: number, error: Partial<UpstreamError> = {}, host?: string) => {
    for (let count = 0; count < times; ) {
      const picked = orders.pick(null)!;
      if (host !== undefined && picked.origin.hostname !== host) continue;
      orders.failed(picked, { ...FAILURE, ...error });
      count++;
    }
  };
  return { engine, time, health, errors, upstreams, orders, picks, fail };
}

describe("round robin", () => {
  it("goes round by weight, smoothly", () => {
    const { picks } = setUp(settings([target("a", { weight: 5 }), target("b"), target("c")]));
    expect(picks(7).join("")).toBe("aabacaa");
    expect(picks(7).join("")).toBe("aabacaa");
  });

  it("takes another than the one that failed where there is one", () => {
    const two = setUp(settings([target("a", { weight: 9 }), target("b")])).orders;
    const a = two.pick(null)!;
    expect(a.origin.hostname).toBe("a");
    expect(two.pick(a)!.origin.hostname).toBe("b");
    const one = setUp(settings([target("a")])).orders;
    expect(one.pick(one.pick(null))!.origin.hostname).toBe("a");
  });

  it("names no upstream it does not have", () => {
    expect(setUp(settings([target("a")])).upstreams.find("other")).toBeNull();
  });

  it("says a target's authority as Host spells it", () => {
    const tls = { ca: null, cert: null, key: null, serverName: "x" };
    const authority = (changes: Partial<TargetSettings>) =>
      setUp(settings([target("h", changes)])).orders.pick(null)!.authority;
    expect(authority({})).toBe("h");
    expect(authority({ port: 8080 })).toBe("h:8080");
    expect(authority({ port: 443 })).toBe("h:443");
    expect(authority({ port: 443, tls })).toBe("h");
    expect(authority({ port: 80, tls })).toBe("h:80");
    expect(authority({ hostname: "::1", port: 3000 })).toBe("[::1]:3000");
  });
});

describe("failures in a row", () => {
  it("put a target out for ten seconds at the fifth, and again at the next one after that", () => {
    const { picks, fail, health, time, orders } = setUp(settings([target("a"), target("b")]));
    fail(4, {}, "a");
    expect(picks(4).sort().join("")).toBe("aabb");
    fail(1, {}, "a");
    expect(picks(4).join("")).toBe("bbbb");
    expect(health.at(-1)).toBe("orders http://a:80 false");
    time.pass(9_999);
    expect(picks(2).join("")).toBe("bb");
    time.pass(1);
    expect(picks(4).sort().join("")).toBe("aabb");
    expect(health.at(-1)).toBe("orders http://a:80 true");
    fail(1, {}, "a");
    expect(picks(2).join("")).toBe("bb");
    time.pass(10_000);
    const a = [orders.pick(null)!, orders.pick(null)!].find(({ origin }) => origin.hostname === "a")!;
    orders.succeeded(a);
    fail(4, {}, "a");
    expect(picks(4).sort().join("")).toBe("aabb");
  });

  it("count anew after a success", () => {
    const { picks, fail, orders } = setUp(settings([target("a"), target("b")]));
    fail(4, {}, "a");
    const a = [orders.pick(null)!, orders.pick(null)!].find(({ origin }) => origin.hostname === "a")!;
    orders.succeeded(a);
    fail(4, {}, "a");
    expect(picks(4).sort().join("")).toBe("aabb");
  });

  it.each([
    [1, 0],
    [2, 1],
    [3, 1],
    [4, 2],
    [5, 2],
  ])("of %d targets never put more than %d out", (count, most) => {
    const hosts = Array.from({ length: count }, (_, index) => `t${index}`);
    const { picks, fail } = setUp(settings(hosts.map((host) => target(host))));
    fail(count * 20);
    expect(new Set(picks(20)).size).toBe(count - most);
  });

  it("leave what the last healthy target can not take to one that is out, and an answer of that brings it back", () => {
    const { picks, fail, health, time, orders } = setUp(settings([target("a"), target("b")]));
    fail(5, {}, "a");
    fail(5, {}, "b");
    const b = orders.pick(null)!;
    expect(b.origin.hostname, "half of them are out already").toBe("b");
    const a = orders.pickOther(b)!;
    expect(a.origin.hostname).toBe("a");
    expect(picks(2).join(""), "nothing shows yet that it is back").toBe("bb");
    orders.succeeded(a);
    expect(health.at(-1)).toBe("orders http://a:80 true");
    orders.failed(b, FAILURE);
    expect(picks(2).join("")).toBe("aa");
    time.pass(9_999);
    expect(picks(2).join(""), "the time of what is over does not count").toBe("aa");
    time.pass(1);
    expect(picks(4).sort().join("")).toBe("aabb");
  });

  it("of a target that is out and tried for want of others leave it out for its ten seconds", () => {
    const { fail, health, time, orders } = setUp(settings([target("a"), target("b")]));
    fail(5, {}, "a");
    const told = health.length;
    const b = orders.pick(null)!;
    for (let count = 0; count < 20; count++) {
      orders.failed(b, FAILURE);
      orders.failed(orders.pickOther(b)!, FAILURE);
    }
    time.pass(9_999);
    expect(health).toHaveLength(told);
    time.pass(1);
    expect(health.at(-1)).toBe("orders http://a:80 true");
  });

  it("leave nothing to try a second time where the only target could not be reached", () => {
    const { orders } = setUp(settings([target("a")]));
    expect(orders.pickOther(orders.pick(null)!)).toBeNull();
  });

  it("bring no target back for an answer to what it was asked before it was out", () => {
    const { picks, fail, orders } = setUp(settings([target("a"), target("b")]));
    const a = [orders.pick(null)!, orders.pick(null)!].find(({ origin }) => origin.hostname === "a")!;
    fail(5, {}, "a");
    orders.succeeded(a);
    expect(picks(2).join("")).toBe("bb");
  });

  it("are told by their reason; a pooled connection that turned out dead is no sign of ill health", () => {
    const { picks, fail, errors } = setUp(settings([target("a"), target("b")]));
    fail(10, { reason: "reset", reusedSocket: true }, "a");
    expect(picks(4).sort().join("")).toBe("aabb");
    expect(errors).toEqual(Array(10).fill("orders reset"));
    fail(5, { reason: "reset", reusedSocket: true, answerBegun: true }, "a");
    expect(picks(2).join("")).toBe("bb");
  });
});

describe("active checks", () => {
  const checked = (names: string[]) =>
    setUp(
      settings(
        names.map((name) => target(name)),
        { healthCheck: { path: "/health?x", intervalMs: 5000, timeoutMs: 2000 } },
      ),
    );
  type Check = ReturnType<typeof checked>["engine"]["sent"][number] | undefined;

  function answer(check: Check, status: number): void {
    check!.handler.onHead(status, "", [], true);
    check!.handler.onEnd([]);
  }

  it("ask each target at once, and then after each interval", () => {
    const { engine, time } = checked(["a", "b"]);
    expect(engine.sent.map(({ request }) => `${request.origin.hostname} ${request.method} ${request.path}`)).toEqual([
      "a GET /health?x",
      "b GET /health?x",
    ]);
    expect(engine.sent[0]!.request.headers.slice(0, 2)).toEqual(["Host", "a"]);
    answer(engine.sent[0], 200);
    time.pass(4999);
    expect(engine.sent.filter(({ request }) => request.origin.hostname === "a")).toHaveLength(1);
    time.pass(1);
    expect(engine.sent.filter(({ request }) => request.origin.hostname === "a")).toHaveLength(2);
  });

  it("put a target out after two that fail, whatever the way, and bring it back after one that does not", () => {
    const failures: ((check: Check, time: Schedule) => void)[] = [
      (check) => answer(check, 503),
      (check) => answer(check, 302),
      (check) => check!.handler.onError(FAILURE),
      (_check, time) => time.pass(2000),
      (check, time) => {
        check!.handler.onHead(200, "", [], false);
        check!.handler.onBody(Buffer.from("never ends"), false, false);
        time.pass(2000);
      },
    ];
    for (const failed of failures) {
      const { engine, time, picks, health } = checked(["a"]);
      failed(engine.sent.at(-1), time);
      expect(engine.sent.at(-1)!.aborted, "nothing of it is left").toBe(true);
      expect(picks(1)).toEqual(["a"]);
      time.pass(5000);
      failed(engine.sent.at(-1), time);
      expect(picks(1)).toEqual(["none"]);
      expect(health.at(-1)).toBe("orders http://a:80 false");
      time.pass(5000);
      answer(engine.sent.at(-1), 204);
      expect(picks(1)).toEqual(["a"]);
      expect(health.at(-1)).toBe("orders http://a:80 true");
    }
  });

  it("may find every target out", () => {
    const { engine, time, picks } = checked(["a", "b"]);
    for (let round = 0; round < 2; round++) {
      for (const check of engine.sent.slice(-2)) answer(check, 500);
      time.pass(5000);
    }
    expect(picks(1)).toEqual(["none"]);
  });

  it("that find the last healthy target ill leave requests to one that is out for failures alone", () => {
    const { engine, time, picks, fail } = checked(["a", "b"]);
    const checks = (host: string) => engine.sent.filter(({ request }) => request.origin.hostname === host);
    for (let round = 0; round < 2; round++) {
      if (round === 1) fail(5, {}, "a");
      answer(checks("a").at(-1), 200);
      answer(checks("b").at(-1), 503);
      time.pass(5000);
    }
    expect(picks(2)).toEqual(["a", "a"]);
  });

  it("do not wait for the end of a long body", () => {
    const { engine, picks } = checked(["a"]);
    const { handler } = engine.sent[0]!;
    handler.onHead(200, "", [], false);
    handler.onBody(Buffer.alloc(65 * 1024), false, false);
    expect(engine.sent[0]!.aborted).toBe(true);
    expect(picks(1)).toEqual(["a"]);
  });

  it("end with the generation, also one under way", () => {
    const { engine, time, upstreams } = checked(["a", "b"]);
    answer(engine.sent[0], 200);
    upstreams.close();
    expect(engine.sent[1]!.aborted).toBe(true);
    expect(time.pending).toBe(0);
  });
});

describe("a reload", () => {
  it("keeps origin and standing of a target that stays, forgets one that goes", () => {
    const { engine, upstreams, orders, fail } = setUp(settings([target("a"), target("b")]));
    fail(5, {}, "a");
    const b = orders.pick(null)!;
    const next = upstreams.replace([settings([target("b", { weight: 3 }), target("c"), target("a")])]);
    const nextOrders = next.find("orders")!;
    const picked = Array.from({ length: 8 }, () => nextOrders.pick(null)!);
    expect(
      picked
        .map(({ origin }) => origin.hostname)
        .sort()
        .join(""),
    ).toBe("bbbbbbcc");
    expect(picked.find(({ origin }) => origin.hostname === "b")!.origin).toBe(b.origin);
    expect(engine.forgotten).toEqual([]);

    next.replace([settings([target("b")]), settings([target("c")], { name: "other" })]);
    expect(engine.forgotten.map(({ hostname }) => hostname)).toEqual(["c", "a"]);
  });

  it("that leaves nothing but a target that is out tries that one", () => {
    const { upstreams, fail } = setUp(settings([target("a"), target("b")]));
    fail(5, {}, "a");
    const next = upstreams.replace([settings([target("a")])]);
    expect(next.find("orders")!.pick(null)?.origin.hostname).toBe("a");
  });

  it("makes another origin of a target that is connected to otherwise", () => {
    const tls = { ca: "A", cert: null, key: null, serverName: "a" };
    const secure = (changes: Partial<typeof tls>) =>
      settings([target("a", { port: 443, tls: { ...tls, ...changes } })]);
    const { engine, upstreams, orders } = setUp(secure({}));
    const { origin } = orders.pick(null)!;
    const same = upstreams.replace([secure({})]);
    expect(same.find("orders")!.pick(null)!.origin).toBe(origin);
    const other = same.replace([secure({ ca: "B" })]);
    expect(other.find("orders")!.pick(null)!.origin).not.toBe(origin);
    expect(engine.forgotten).toEqual([origin]);
  });

  it("does not bring back a target whose next check fails too", () => {
    const healthCheck = { path: "/", intervalMs: 5000, timeoutMs: 2000 };
    const { engine, time, upstreams } = setUp(settings([target("a")], { healthCheck }));
    engine.sent[0]!.handler.onError(FAILURE);
    time.pass(5000);
    engine.sent[1]!.handler.onError(FAILURE);
    const next = upstreams.replace([settings([target("a")], { healthCheck })]);
    engine.sent.at(-1)!.handler.onError(FAILURE);
    expect(next.find("orders")!.pick(null)).toBeNull();
  });

  it("forgets that a check had put a target out where there are no checks any more", () => {
    const healthCheck = { path: "/", intervalMs: 5000, timeoutMs: 2000 };
    const { engine, time, upstreams, orders } = setUp(settings([target("a")], { healthCheck }));
    engine.sent[0]!.handler.onError(FAILURE);
    time.pass(5000);
    engine.sent[1]!.handler.onError(FAILURE);
    expect(orders.pick(null)).toBeNull();
    expect(
      upstreams
        .replace([settings([target("a")], { healthCheck })])
        .find("orders")!
        .pick(null),
    ).toBeNull();
    const unchecked = upstreams.replace([settings([target("a")])]);
    expect(unchecked.find("orders")!.pick(null)).not.toBeNull();
  });
});
