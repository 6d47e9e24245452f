import { customAlphabet } from "nanoid";

const BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
const base58 = customAlphabet(BASE58, 24);

/** A new secret: the prefix and 24 base58 characters (140 bits) from a cryptographic generator. */
export function createRootKey(prefix: string): string {
  return prefix + base58();
}

/** What may be shown of a secret: its prefix and first four characters. A secret with a shorter rest shows none of it. */
export function keyStart(secret: string, prefix: string): string {
  return secret.length - prefix.length >= 8 ? secret.slice(0, prefix.length + 4) : prefix;
}

/** `key_` and 24 base58 characters. Public: it is logged and shown. */
export function createKeyId(): string {
  return `key_${base58()}`;
}
