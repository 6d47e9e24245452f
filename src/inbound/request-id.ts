import { randomFillSync } from "node:crypto";

const ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyz";

/** Every two characters: an id is made of eight pieces rather than of fifteen. */
const PAIRS: readonly string[] = [...ALPHABET].flatMap((first) => [...ALPHABET].map((second) => first + second));

/** The largest multiple of the number of pairs in 16 bits: values from here on would favour the first ones. */
const FAIR = 0x10000 - (0x10000 % PAIRS.length);

const pool = new Uint16Array(2048);
let next = pool.length;

/** `req_` and 15 characters of `0-9 a-z`, from a cryptographic generator (contract section 5). */
export function newRequestId(): string {
  const last = ALPHABET[fairValue() % ALPHABET.length];
  return `req_${pair()}${pair()}${pair()}${pair()}${pair()}${pair()}${pair()}${last}`;
}

function pair(): string {
  return PAIRS[fairValue() % PAIRS.length] as string;
}

/** Below `FAIR`, which both a pair's and a character's number divide. */
function fairValue(): number {
  for (;;) {
    if (next === pool.length) {
      randomFillSync(pool);
      next = 0;
    }
    const value = pool[next++] as number;
    if (value < FAIR) return value;
  }
}
