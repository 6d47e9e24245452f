import type { Socket } from "node:net";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { BodyReader } from "../../src/exchange.ts";
import { PlainBody } from "../../src/inbound/plain-body.ts";

/** A socket as far as a body has to do with it. */
class FakeSocket {
  paused = false;

  pause(): void {
    this.paused = true;
  }

  resume(): void {
    this.paused = false;
  }
}

/** Keeps what it is told; `enough` says after which of its chunks it has enough for now. */
class Reader implements BodyReader {
  readonly got: Buffer[] = [];
  readonly told: string[] = [];
  readonly #onChunk: (chunks: number) => void;

  constructor(onChunk: (chunks: number) => void = () => {}) {
    this.#onChunk = onChunk;
  }

  onRequestData(chunk: Buffer): boolean {
    if (this.told.length > 0) throw new Error(`bytes after ${this.told}`);
    this.got.push(Buffer.from(chunk));
    this.#onChunk(this.got.length);
    return true;
  }

  onRequestEnd(): void {
    this.told.push("end");
  }

  onRequestAbort(): void {
    this.told.push("abort");
  }

  get text(): string {
    return Buffer.concat(this.got).toString();
  }
}

function bodyOf(bytes: number, first = ""): { body: PlainBody; socket: FakeSocket } {
  const socket = new FakeSocket();
  return { body: new PlainBody(socket as unknown as Socket, bytes, Buffer.from(first)), socket };
}

describe("a body that comes by its length", () => {
  it("is had whole where all of it came with the head, and then it is read", () => {
    const { body } = bodyOf(5, "hello");
    expect(body.complete).toBe(false);
    expect(body.takeWhole()?.toString()).toBe("hello");
    expect(body.complete).toBe(true);
    expect(body.takeWhole()).toBeNull();
  });

  it("is not had whole before it is here, nor once it has a reader or is unwanted", () => {
    const late = bodyOf(5, "hell").body;
    expect(late.takeWhole()).toBeNull();
    const read = bodyOf(5, "hello").body;
    read.read(new Reader());
    expect(read.takeWhole()).toBeNull();
    const unwanted = bodyOf(5, "hello").body;
    unwanted.discard();
    expect(unwanted.takeWhole()).toBeNull();
    expect(unwanted.complete).toBe(false);
  });

  it("goes to its reader as it comes, what came before first, then the end, once", () => {
    const { body } = bodyOf(9, "one");
    body.arrive(Buffer.from("two"), true);
    const reader = new Reader();
    body.read(reader);
    expect(reader.text).toBe("onetwo");
    expect(reader.told).toEqual([]);
    body.arrive(Buffer.from("six"), true);
    expect(reader.text).toBe("onetwosix");
    expect(reader.told).toEqual(["end"]);
    body.resume();
    body.breakOff();
    expect(reader.told).toEqual(["end"]);
  });

  it("copies what it keeps of memory that is used again", () => {
    const { body } = bodyOf(4);
    const memory = Buffer.from("good");
    body.arrive(memory, true);
    memory.write("evil");
    const reader = new Reader();
    body.read(reader);
    expect(reader.text).toBe("good");
  });

  it("lets the client wait where nobody reads it and 64 KiB are here, and while its reader has enough", () => {
    const { body, socket } = bodyOf(1_000_000);
    body.arrive(Buffer.alloc(64 * 1024 - 1), true);
    expect(socket.paused).toBe(false);
    body.arrive(Buffer.alloc(1), true);
    expect(socket.paused).toBe(true);
    body.read(new Reader((chunks) => chunks === 2 && body.pause()));
    expect(socket.paused).toBe(false);
    body.arrive(Buffer.alloc(1000), true);
    expect([socket.paused, body.paused]).toEqual([true, true]);
    body.resume();
    expect([socket.paused, body.paused]).toEqual([false, false]);
  });

  it("never asks for what comes behind it", () => {
    const { body, socket } = bodyOf(5, "hello");
    // Somebody else lets the client wait, for what is behind the body.
    socket.pause();
    body.read(new Reader());
    body.resume();
    expect(socket.paused).toBe(true);
    const unread = bodyOf(5, "hello");
    unread.socket.pause();
    unread.body.discard();
    expect(unread.socket.paused).toBe(true);
  });

  it("is thrown away once it is unwanted, however much more comes of it", () => {
    const { body, socket } = bodyOf(10, "ab");
    const reader = new Reader();
    body.read(reader);
    body.pause();
    body.discard();
    expect(socket.paused).toBe(false);
    expect(body.arrive(Buffer.from("cdefghij"), true)).toBe(true);
    expect(body.left).toBe(0);
    expect(reader.text).toBe("ab");
    expect(reader.told).toEqual([]);
    expect(body.complete).toBe(false);
  });

  it("says to its reader that it broke off, and is not complete", () => {
    const { body } = bodyOf(10, "ab");
    const reader = new Reader();
    body.read(reader);
    body.breakOff();
    body.breakOff();
    expect(reader.told).toEqual(["abort"]);
    expect(body.complete).toBe(false);
  });

  it("is what was sent, in order, whatever its reader asks for meanwhile", () => {
    const steps = fc.array(
      fc.oneof(fc.integer({ min: 1, max: 40_000 }), fc.constantFrom("read", "pause", "resume"), fc.constant("resume")),
      { maxLength: 30 },
    );
    fc.assert(
      fc.property(steps, fc.nat({ max: 100 }), (steps, firstBytes) => {
        const sizes = steps.filter((step) => typeof step === "number");
        const sent = Buffer.alloc(firstBytes + sizes.reduce((sum, size) => sum + size, 0));
        for (let at = 0; at < sent.length; at++) sent[at] = (at * 31 + (at >> 8)) & 0xff;
        if (sent.length === 0) return;
        const socket = new FakeSocket();
        const body = new PlainBody(socket as unknown as Socket, sent.length, sent.subarray(0, firstBytes));
        const reader = new Reader((chunks) => chunks % 3 === 0 && body.pause());
        let at = firstBytes;
        let reading = false;
        for (const step of steps) {
          if (typeof step === "number") {
            const memory = Buffer.from(sent.subarray(at, at + step));
            body.arrive(memory, true);
            memory.fill(0);
            at += step;
          } else if (step === "read" && !reading) {
            reading = true;
            body.read(reader);
          } else if (step === "pause") {
            body.pause();
          } else if (step === "resume") {
            body.resume();
          }
        }
        if (!reading) body.read(reader);
        while (body.paused) body.resume();
        expect(Buffer.concat(reader.got).equals(sent)).toBe(true);
        expect(reader.told).toEqual(["end"]);
        expect(body.complete).toBe(true);
      }),
    );
  });
});
