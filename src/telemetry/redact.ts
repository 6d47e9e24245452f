/** What stands in a text where a root key was. */
export const REDACTED = "[redacted]";

/** Makes a text safe to write. */
export type Redact = (text: string) => string;

/**
 * The last defence for texts that were never meant to hold a key (paths, messages of errors): everything that reads
 * like one, and whatever follows `Bearer` or `Basic`, is replaced. With the prefix "" any run of 20 characters or more
 * that keys are made of counts as one, which also hides ids of that length.
 */
export function createRedact(...keyPrefixes: readonly string[]): Redact {
  const keys = keyPrefixes.map(keyPattern).join("|");
  const pattern = new RegExp(`${keys}|\\b(?:bearer|basic)[ \\t]+[^\\s"',]+`, "gi");
  return (text) => (text.search(pattern) === -1 ? text : text.replaceAll(pattern, REDACTED));
}

function keyPattern(prefix: string): string {
  if (prefix === "") return "[A-Za-z0-9_-]{20,}";
  return `${prefix.replaceAll(/[^A-Za-z0-9_]/g, (character) => `\\u${hex(character)}`)}[A-Za-z0-9_-]+`;
}

function hex(character: string): string {
  return character.charCodeAt(0).toString(16).padStart(4, "0");
}
