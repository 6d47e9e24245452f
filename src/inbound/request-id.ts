import { randomFillSync } from "node:crypto";

const ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyz";
const LENGTH = 15;

/** The largest multiple of 36 in a byte: values from here on would favour the alphabet's first letters. */
const FAIR = 252;

const pool = Buffer.allocUnsafe(4096);
let next = pool.length;

/** `req_` and 15 characters of `0-9 a-z`, from a cryptographic generator (contract section 5). */
export function newRequestId(): string {
  let id = "req_";
  while (id.length < LENGTH + 4) {
    if (next === pool.length) {
      randomFillSync(pool);
      next = 0;
    }
    const byte = pool[next++] as number;
    if (byte < FAIR) id += ALPHABET[byte % 36];
  }
  return id;
}
