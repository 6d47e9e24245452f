import { describe, expect, it } from "vitest";
import { SignsOfLife } from "../../src/signs-of-life.ts";

/** A worker that is asked for a sign of life once in a second. */
class Watched {
  asked = 0;
  readonly #signs: SignsOfLife;

  constructor(asksMax: number) {
    this.#signs = new SignsOfLife(() => this.asked++, asksMax);
  }

  /** In which of so many seconds it was found to be missing. */
  secondsMissing(seconds: number): number[] {
    return Array.from({ length: seconds }, (_, second) => second).filter(() => {
      this.#signs.ask();
      return this.#signs.isMissing();
    });
  }

  answer(): void {
    this.#signs.answered();
  }
}

describe("SignsOfLife", () => {
  it("misses a worker that was silent for as long as allowed, and says so once", () => {
    expect(new Watched(3).secondsMissing(10)).toEqual([3]);
  });

  it("does not miss one that answers late, time and again", () => {
    const worker = new Watched(3);
    for (let n = 0; n < 4; n++) {
      expect(worker.secondsMissing(3)).toEqual([]);
      worker.answer();
    }
    expect(worker.secondsMissing(4)).toEqual([3]);
  });

  it("asks again only when it was answered", () => {
    const worker = new Watched(3);
    worker.secondsMissing(10);
    expect(worker.asked).toBe(1);
    worker.answer();
    worker.secondsMissing(1);
    expect(worker.asked).toBe(2);
  });
});
