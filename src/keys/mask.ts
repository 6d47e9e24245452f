/** The value of a member whose name says that it is a secret, or that it may have been put in a secret's place. */
const SECRET_MEMBER =
  /(\b(?:root_?)?(?:key|secret|token|password|hash)\b["']?\s*[:=]\s*)("[^"]*"?|'[^']*'?|[^\s,}\]]+)/gi;
/** What looks like a key or a hash wherever it stands; `key_...` ids are public. */
const SECRET_LIKE = /\bunkey_[A-Za-z0-9_-]+|(?<![A-Za-z0-9_+/=-])(?!key_)[A-Za-z0-9_+/=-]{24,}/g;

/** A line of a keyring with what may be a secret replaced by `*`: as long as before, so that columns stay right. */
export function maskSourceLine(line: string): string {
  return maskSecrets(line.replaceAll(SECRET_MEMBER, (_, member: string, value: string) => member + stars(value)));
}

/** A sentence that quotes something, with what looks like a key or a hash replaced by `*`. */
export function maskSecrets(text: string): string {
  return text.replaceAll(SECRET_LIKE, stars);
}

function stars(text: string): string {
  return "*".repeat(text.length);
}
