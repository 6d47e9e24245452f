import { expect, it } from "vitest";
import { createSteadyClock } from "../../src/keys/steady-clock.ts";
import { TestClock } from "../support/key-parts.ts";

it("goes as the monotonic clock does, whatever small differences there are", () => {
  const clock = new TestClock();
  const steady = createSteadyClock(clock.now, clock.mono);
  for (let index = 0; index < 100; index += 1) {
    clock.advance(1000);
    clock.step(index % 2 === 0 ? 2 : -2);
  }
  expect(steady()).toBe(100_000);
});

it("does not go back when the wall clock is set back", () => {
  const clock = new TestClock();
  const steady = createSteadyClock(clock.now, clock.mono);
  clock.advance(1000);
  clock.step(-3_600_000);
  clock.advance(1000);
  expect(steady()).toBe(2000);
});

it("counts what the monotonic clock slept through, also after the wall clock was set back", () => {
  const clock = new TestClock();
  const steady = createSteadyClock(clock.now, clock.mono);
  clock.step(-3_600_000);
  clock.advance(1000);
  steady();
  clock.step(3_600_000);
  clock.advance(1000);
  expect(steady()).toBe(3_602_000);
});
