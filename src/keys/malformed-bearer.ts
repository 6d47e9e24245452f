import { isBlank, trimBlanks } from "../octets.ts";
import { MAX_CHARACTERS, readBearer, SCHEME } from "./bearer.ts";

/**
 * Why `readBearer` finds a field malformed, for the one whose credential it is (`sentinel explain`); null where it does not.
 * Says nothing of what the field holds.
 */
export function explainMalformed(value: string | null, count: number, prefix: string): string | null {
  if (value === null || readBearer(value, count, prefix).kind !== "malformed") return null;
  if (count > 1) return `there are ${count} Authorization fields; exactly one is read`;
  const credential = trimBlanks(value);
  if (credential === "") return "it is empty";
  if (credential.length > MAX_CHARACTERS)
    return `it has ${credential.length} characters; no more than ${MAX_CHARACTERS} are read`;
  if (credential === "Bearer") return "no key follows Bearer";
  if (!credential.startsWith(SCHEME)) {
    return /^bearer\s/i.test(credential)
      ? "it must begin with Bearer, spelt like this, and one space"
      : "it does not begin with Bearer and a space";
  }
  const key = credential.slice(SCHEME.length);
  if (isBlank(key.charCodeAt(0))) return "more than one space follows Bearer";
  if (!key.startsWith(prefix)) return `the key does not begin with ${prefix} (keys.prefix)`;
  if (key.length === prefix.length) return `nothing follows the key's ${prefix}`;
  const at = key.search(/[^A-Za-z0-9_-]/);
  return `character ${at + 1} of the key is none of A-Z a-z 0-9 _ -`;
}
