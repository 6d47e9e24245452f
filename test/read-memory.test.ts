import { describe, expect, it } from "vitest";
import { ReadMemory } from "../src/read-memory.ts";

/** A connection as net.Socket drives it: asks where to read into, then tells how much it read. */
class Connection {
  readonly memory = new ReadMemory();
  readonly #buffer: () => Uint8Array;
  readonly #callback: (bytesRead: number, memory: Uint8Array) => boolean;
  /** Where the next read goes. */
  next: Uint8Array;
  /** What the handler does with what is read. */
  handle: (chunk: Buffer) => void = () => {};

  constructor() {
    const { buffer, callback } = this.memory.onread((chunk) => {
      this.handle(chunk);
      return true;
    });
    this.#buffer = buffer;
    this.#callback = callback;
    this.next = buffer();
  }

  read(bytes: number, options: { readonly kept?: boolean; readonly last?: boolean } = {}): void {
    this.handle = () => {
      if (options.kept) this.memory.keep();
      if (options.last) this.memory.expectLittle();
    };
    expect(this.#callback(bytes, this.next)).toBe(true);
    this.next = this.#buffer();
  }

  /** The memory that reads go into, as one can tell two of them apart. */
  get place(): ArrayBufferLike {
    return this.next.buffer;
  }
}

const WHOLE = 64 * 1024;

describe("the memory that connections read into", () => {
  it("is the same for all of them, and lent, while little is read", () => {
    const [one, other] = [new Connection(), new Connection()];
    one.read(1300);
    other.read(31 * 1024);
    expect(one.place).toBe(other.place);
    expect(one.memory.lent).toBe(true);
  });

  it("gives the handler what was read, and no more, and the socket what the handler returned", () => {
    const connection = new Connection();
    let length = 0;
    Buffer.from(connection.next.buffer).write("answer");
    const { callback } = connection.memory.onread((chunk) => {
      length = chunk.length;
      expect(chunk.toString("latin1")).toBe("answer");
      return false;
    });
    expect(callback(6, connection.next)).toBe(false);
    expect(length).toBe(6);
  });

  it("shows every read what it brought, one of the same length, or of one that shares its place among the views", () => {
    const [one, other] = [new Connection(), new Connection()];
    for (const [connection, text] of [
      [one, "first"],
      [other, "other"],
      [other, "o".repeat("other".length + 256)],
      [one, "again"],
    ] as const) {
      let seen = "";
      Buffer.from(connection.next.buffer).write(text);
      const { callback } = connection.memory.onread((chunk) => {
        seen = chunk.toString("latin1");
        return true;
      });
      callback(text.length, connection.next);
      expect(seen).toBe(text);
    }
  });

  it("is a connection's own, and used again, for as long as much is read", () => {
    const [one, other] = [new Connection(), new Connection()];
    one.read(WHOLE);
    other.read(WHOLE);
    const own = one.place;
    expect(one.memory.lent).toBe(false);
    expect(own).not.toBe(other.place);
    one.read(WHOLE);
    expect(one.place).toBe(own);
    one.read(100);
    expect(one.memory.lent).toBe(true);
    expect(one.place).not.toBe(own);
  });

  it("is read into no more while somebody keeps it, by this connection or another", () => {
    const [one, other] = [new Connection(), new Connection()];
    one.read(WHOLE);
    const kept = one.place;
    one.read(WHOLE, { kept: true });
    expect(one.place).not.toBe(kept);
    one.read(100);
    const last = new Connection();
    last.read(WHOLE);
    const end = last.place;
    last.read(100, { kept: true });
    for (let reads = 0; reads < 4; reads += 1) {
      other.read(WHOLE);
      expect(other.place).not.toBe(kept);
      expect(other.place).not.toBe(end);
    }
  });

  it("is given back with the last of much, whoever knows that it is: for others, or not where it is kept", () => {
    const [one, other, third] = [new Connection(), new Connection(), new Connection()];
    one.read(WHOLE, { last: true });
    expect(one.memory.lent).toBe(true);
    one.read(WHOLE);
    const own = one.place;
    one.read(WHOLE, { last: true });
    expect(one.memory.lent).toBe(true);
    other.read(WHOLE);
    expect(other.place).toBe(own);
    other.read(WHOLE, { last: true, kept: true });
    expect(other.memory.lent).toBe(true);
    third.read(WHOLE);
    expect(third.place).not.toBe(own);
  });

  it("is handed on, once free, to the next connection of which much is read", () => {
    const [one, other] = [new Connection(), new Connection()];
    one.read(WHOLE);
    const own = one.place;
    one.read(100);
    other.read(WHOLE);
    expect(other.place).toBe(own);
  });
});
