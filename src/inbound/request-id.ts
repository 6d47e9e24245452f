import { randomFillSync } from "node:crypto";

const PREFIX = "req_";
const ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyz";
const CHARACTERS = 15;
const LENGTH = PREFIX.length + CHARACTERS;

/** Made so many at a time: an id is then one piece of a text rather than eight, wherever it is written. */
const BATCH = 128;
/** Of random bytes those from here on would favour the first characters. */
const FAIR = 256 - (256 % ALPHABET.length);
/** By random byte: the character that it chooses; 0: none, another byte is drawn. */
const CHOSEN = Uint8Array.from({ length: 256 }, (_, byte) =>
  byte < FAIR ? ALPHABET.charCodeAt(byte % ALPHABET.length) : 0,
);

const bytes = Buffer.alloc(BATCH * LENGTH, PREFIX.padEnd(LENGTH), "latin1");
const pool = new Uint8Array(4096);
let poolAt = pool.length;
let batch = "";
let next = BATCH;

/** `req_` and 15 characters of `0-9 a-z`, from a cryptographic generator (contract section 5). */
export function newRequestId(): string {
  if (next === BATCH) {
    batch = makeBatch();
    next = 0;
  }
  const at = next++ * LENGTH;
  return batch.slice(at, at + LENGTH);
}

function makeBatch(): string {
  for (let id = 0; id < BATCH; id++) {
    const from = id * LENGTH + PREFIX.length;
    for (let at = from; at < from + CHARACTERS; at++) {
      let character = 0;
      while (character === 0) {
        if (poolAt === pool.length) refill();
        character = CHOSEN[pool[poolAt++]!]!;
      }
      bytes[at] = character;
    }
  }
  return bytes.toString("latin1");
}

function refill(): void {
  randomFillSync(pool);
  poolAt = 0;
}
