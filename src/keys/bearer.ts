import { hash } from "node:crypto";
import { isBlank, octetSet } from "../octets.ts";
import type { KeyHash } from "./root-key.ts";

/** What the Authorization fields of a request hold. The secret goes no further than to `hashKey`. */
export type BearerReading =
  | { readonly kind: "secret"; readonly secret: string }
  | { readonly kind: "missing" }
  | { readonly kind: "malformed" };

const MISSING: BearerReading = { kind: "missing" };
const MALFORMED: BearerReading = { kind: "malformed" };

/** What a credential begins with, in this case and with one space. */
export const SCHEME = "Bearer ";
/** Of a credential, scheme and key together. */
export const MAX_CHARACTERS = 512;

/**
 * Reads a root key: exactly one field, `Bearer` in that case, one space, the key (contract section 4, step 2). Only no
 * field at all is `missing`; an empty one is `malformed`. `value` is the first field's, `count` how many there are,
 * `prefix` what a key starts with ("" accepts any). White space around the value belongs to HTTP (RFC 9110 section 5.5).
 */
export function readBearer(value: string | null, count: number, prefix: string): BearerReading {
  if (value === null || count === 0) return MISSING;
  if (count > 1) return MALFORMED;
  let start = 0;
  let end = value.length;
  while (start < end && isBlank(value.charCodeAt(start))) start += 1;
  while (end > start && isBlank(value.charCodeAt(end - 1))) end -= 1;
  if (end - start > MAX_CHARACTERS || !value.startsWith(SCHEME, start)) return MALFORMED;
  start += SCHEME.length;
  if (end - start <= prefix.length || !value.startsWith(prefix, start)) return MALFORMED;
  for (let i = start; i < end; i += 1) if (IN_KEY[value.charCodeAt(i)] !== 1) return MALFORMED;
  return { kind: "secret", secret: value.slice(start, end) };
}

/** SHA-256 over the whole key, prefix included, in standard base64 with padding. One-shot: about twice as fast. */
export function hashKey(secret: string): KeyHash {
  return hash("sha256", secret, "base64") as KeyHash;
}

const IN_KEY = octetSet(/[A-Za-z0-9_-]/);
