import { describe, expect, it } from "vitest";
import { createBreaker } from "../../src/keys/breaker.ts";
import { createLimiter } from "../../src/keys/limiter.ts";
import { SourceUnavailable } from "../../src/keys/source.ts";
import { settled, TestClock } from "../support/key-parts.ts";

class Outage extends Error {}

function setUp() {
  const clock = new TestClock();
  const states: boolean[] = [];
  const breaker = createBreaker({
    failuresMax: 3,
    retryMs: 1000,
    mono: clock.mono,
    isOutage: (error) => error instanceof Outage,
    message: "away",
    onChange: (open) => states.push(open),
  });
  const fail = () => breaker.run(() => Promise.reject(new Outage())).catch((error: unknown) => error);
  return { clock, states, breaker, fail };
}

describe("a breaker", () => {
  it("opens after so many failures in a row, and refuses what comes then without asking", async () => {
    const { breaker, fail, states } = setUp();
    for (let index = 0; index < 3; index += 1) expect(await fail()).toBeInstanceOf(Outage);
    let asked = false;
    const refused = breaker.run(async () => {
      asked = true;
    });
    await expect(refused).rejects.toBeInstanceOf(SourceUnavailable);
    expect({ asked, open: breaker.isOpen, states }).toEqual({ asked: false, open: true, states: [true] });
  });

  it("does not open when an answer came in between, nor by errors that are answers", async () => {
    const { breaker, fail } = setUp();
    for (let round = 0; round < 5; round += 1) {
      await fail();
      await fail();
      await breaker.run(async () => "an answer");
      for (let index = 0; index < 5; index += 1)
        await breaker.run(() => Promise.reject(new Error("no"))).catch(() => {});
    }
    expect(breaker.isOpen).toBe(false);
  });

  it("tells everyone who still waits when it opens: nobody waits for what will not come", async () => {
    const { breaker, fail } = setUp();
    const waiting = breaker.run(() => new Promise(() => {}));
    const outcome = expect(waiting).rejects.toThrow("away");
    for (let index = 0; index < 3; index += 1) await fail();
    await outcome;
  });

  it("lets one through each second, closes by its success, and stays open by its failure", async () => {
    const { breaker, fail, clock, states } = setUp();
    for (let index = 0; index < 3; index += 1) await fail();
    clock.advance(1000);
    let answer: (value: string) => void = () => {};
    const trial = breaker.run(() => new Promise<string>((resolve) => (answer = resolve)));
    await expect(breaker.run(async () => "second")).rejects.toThrow("away");
    answer("first");
    expect(await trial).toBe("first");
    expect(await breaker.run(async () => "third")).toBe("third");
    for (let index = 0; index < 3; index += 1) await fail();
    clock.advance(1000);
    expect(await fail()).toBeInstanceOf(Outage);
    await expect(breaker.run(async () => "fourth")).rejects.toThrow("away");
    expect(states).toEqual([true, false, true]);
  });
});

describe("a limiter", () => {
  it("runs so many at once, lets others wait in their order, and refuses the rest", async () => {
    const limiter = createLimiter(1, 2);
    const order: number[] = [];
    const releases: (() => void)[] = [];
    const start = (index: number) =>
      limiter.run(() => {
        order.push(index);
        return new Promise<void>((resolve) => releases.push(resolve));
      });
    const [first, second, third, fourth] = [start(1), start(2), start(3), start(4)];
    await expect(fourth).rejects.toBeInstanceOf(SourceUnavailable);
    for (const running of [first, second, third]) {
      await settled();
      releases.shift()?.();
      await running;
    }
    expect(order).toEqual([1, 2, 3]);
  });

  it("goes on after one that failed, also at once", async () => {
    const limiter = createLimiter(1, 0);
    const failing = limiter.run(() => {
      throw new Error("at once");
    });
    await expect(failing).rejects.toThrow("at once");
    expect(await limiter.run(() => "next")).toBe("next");
  });
});
