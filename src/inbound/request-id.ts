import { randomFillSync } from "node:crypto";

const PREFIX = "req_";
const ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyz";
const CHARACTERS = 15;
const LENGTH = PREFIX.length + CHARACTERS;

/** Made so many at a time: an id is then one piece of a text rather than eight, wherever it is written. */
const BATCH = 128;
/** Characters that are chosen by one random byte: values from here on would favour the first ones. */
const FAIR = 256 - (256 % ALPHABET.length);

const bytes = Buffer.alloc(BATCH * LENGTH, PREFIX.padEnd(LENGTH), "latin1");
const pool = Buffer.alloc(4096);
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
    for (let at = from; at < from + CHARACTERS; at++) bytes[at] = ALPHABET.charCodeAt(fairByte() % ALPHABET.length);
  }
  return bytes.toString("latin1");
}

/** Below `FAIR`, which the number of characters divides. */
function fairByte(): number {
  for (;;) {
    if (poolAt === pool.length) {
      randomFillSync(pool);
      poolAt = 0;
    }
    const value = pool[poolAt++] as number;
    if (value < FAIR) return value;
  }
}
