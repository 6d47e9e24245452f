import { Duplex } from "node:stream";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { OneWay } from "../../src/forward/one-way.ts";

/** A side that takes one write at a time, when it is told to. */
class SlowSide extends Duplex {
  readonly taken: Buffer[] = [];
  writes = 0;
  #take: (() => void) | null = null;

  override _read(): void {}

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: () => void): void {
    this.writes += 1;
    this.#take = () => {
      this.taken.push(chunk);
      done();
    };
  }

  /** False: there is nothing to be taken. */
  takeOne(): boolean {
    const take = this.#take;
    this.#take = null;
    take?.();
    return take !== null;
  }
}

/** A side that says these pieces, as far as it is listened to. */
function saying(pieces: readonly Buffer[]): Duplex {
  const left = [...pieces];
  return new Duplex({
    read() {
      const next = left.shift();
      if (next !== undefined) this.push(next);
    },
    write: (_chunk, _encoding, done) => done(),
  });
}

const turn = () => new Promise((done) => setImmediate(done));

describe("one direction of a tunnel", () => {
  it("carries everything once, in order, then the end, at whatever pace it is taken", async () => {
    const sizes = fc.array(
      fc.oneof(fc.constant(1), fc.integer({ min: 1, max: 300 }), fc.integer({ min: 1, max: 90_000 })),
      { maxLength: 40 },
    );
    await fc.assert(
      fc.asyncProperty(sizes, fc.nat(3), async (all, pace) => {
        const pieces = all.map((size, index) => Buffer.alloc(size, index + 1));
        const [from, to] = [saying(pieces), new SlowSide()];
        let sent = 0;
        const way = new OneWay(from, to, (bytes) => {
          sent += bytes;
        });
        from.on("data", (piece: Buffer) => way.carry(piece));
        for (let idle = 0; idle < 5; idle += 1) {
          await turn();
          for (let n = 0; n <= pace; n += 1) if (to.takeOne()) idle = 0;
        }
        way.end();
        while (!to.writableFinished) {
          await turn();
          to.takeOne();
        }
        expect(Buffer.concat(to.taken).equals(Buffer.concat(pieces))).toBe(true);
        expect(sent).toBe(Buffer.concat(pieces).length);
      }),
      { numRuns: 60, seed: 20_261_121 },
    );
  });

  it("keeps no pieces for a side that takes nothing, and says when it is enough", () => {
    const [from, to] = [saying([]), new SlowSide({ highWaterMark: 1024 * 1024 })];
    const way = new OneWay(from, to, () => {});
    from.resume();
    for (let bytes = 0; bytes < 64 * 1024; bytes += 1) way.carry(Buffer.from("a"));
    expect([to.writes, to.writableLength, from.isPaused()]).toEqual([1, 1, false]);
    way.carry(Buffer.from("a"));
    expect([to.writes, to.writableLength, from.isPaused(), from.readableLength]).toEqual([1, 1, true, 64 * 1024]);
  });
});
