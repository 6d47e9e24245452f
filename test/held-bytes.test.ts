import { Socket } from "node:net";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { HeldBytes } from "../src/held-bytes.ts";

const KIB = 1024;
const MIB = 1024 * KIB;

setFlagsFromString("--expose-gc");
const collect = runInNewContext("gc") as () => void;

describe("what is held for a client before its turn", () => {
  it("is given back whole and in order, however it came, and what is too much by the socket", () => {
    const sizes = fc.array(fc.oneof(fc.constant(1), fc.nat(200), fc.nat(40 * KIB)), { maxLength: 200 });
    fc.assert(
      fc.property(sizes, (all) => {
        const socket = new Socket();
        const held = new HeldBytes(socket);
        const sent: Buffer[] = [];
        for (const [index, size] of all.entries()) {
          if (socket.isPaused()) break;
          const piece = Buffer.alloc(size, index);
          sent.push(piece);
          held.hold(piece);
        }
        const got = Buffer.concat([held.take(), (socket.read() as Buffer | null) ?? Buffer.alloc(0)]);
        expect(got.equals(Buffer.concat(sent))).toBe(true);
        expect(held.take().length).toBe(0);
      }),
      { seed: 20_261_121 },
    );
  });

  it("is so much at most that the socket, which then has it, reads no more", () => {
    const socket = new Socket();
    const held = new HeldBytes(socket);
    held.hold(Buffer.alloc(64 * KIB - 1));
    expect(socket.isPaused()).toBe(false);
    held.hold(Buffer.alloc(1));
    expect(socket.isPaused()).toBe(true);
    expect(socket.readableLength).toBeGreaterThanOrEqual(socket.readableHighWaterMark);
  });

  it("is about as much memory as it is bytes, where they come one by one", () => {
    const count = 60_000;
    const costOf = (keep: (piece: Buffer) => void) => {
      collect();
      const before = process.memoryUsage().heapUsed;
      for (let sent = 0; sent < count; sent++) keep(Buffer.from(new ArrayBuffer(1)));
      collect();
      return process.memoryUsage().heapUsed - before;
    };
    const pieces: Buffer[] = [];
    // Or this would be no way to tell.
    expect(costOf((piece) => pieces.push(piece))).toBeGreaterThan(5 * MIB);
    const held = new HeldBytes(new Socket());
    expect(costOf((piece) => held.hold(piece))).toBeLessThan(MIB);
    expect([pieces.length, held.take().length]).toEqual([count, count]);
  });
});
