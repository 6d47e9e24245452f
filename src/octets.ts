/**
 * What HTTP's texts (and the lines of the log) are made of. Of each set one shape or more: a table by octet for who reads
 * bytes, a question about one octet, a question about a whole text. Texts are latin1, one character an octet; a character
 * beyond is in no set.
 */

/** RFC 9110 section 5.6.2: a token, as a part of longer regular expressions. */
export const TOKEN = "[!#$%&'*+\\-.^_`|~0-9A-Za-z]+";

/** By octet: 1 for those that tokens are made of. */
export const IN_TOKEN = octetSet(new RegExp(TOKEN));

const WHOLE_TOKEN = new RegExp(`^${TOKEN}$`);

/** RFC 9110 sections 5.1, 5.6.2 and 9.1: names of fields, methods, options of `Connection`. "" is none. */
export function isToken(text: string): boolean {
  return WHOLE_TOKEN.test(text);
}

/** RFC 9110 section 5.5: visible characters, space, tab and what is above 127. */
export function isInFieldValue(octet: number): boolean {
  return (octet >= 0x20 && octet <= 0xff && octet !== 0x7f) || octet === 0x09;
}

const NOT_IN_FIELD_VALUE = /[^\t -~\x80-\xff]/;

/** Up to so many characters a loop costs less than the call of a regular expression. */
const SHORT = 16;

/**
 * Whether the text may stand in a field's value (RFC 9110 section 5.5), blanks around it or not. A reason phrase is made
 * of the same (RFC 9112 section 4). "" may.
 */
export function isFieldValue(text: string): boolean {
  if (text.length > SHORT) return !NOT_IN_FIELD_VALUE.test(text);
  for (let i = 0; i < text.length; i++) if (!isInFieldValue(text.charCodeAt(i))) return false;
  return true;
}

/** RFC 9110 section 5.6.3: the white space around values and elements of lists is space and tab, no more. */
export function isBlank(octet: number): boolean {
  return octet === 0x20 || octet === 0x09;
}

/** Without the blanks around it. `trim` would take other white space off too, and make a name of what is none. */
export function trimBlanks(text: string): string {
  let start = 0;
  let end = text.length;
  while (start < end && isBlank(text.charCodeAt(start))) start++;
  while (end > start && isBlank(text.charCodeAt(end - 1))) end--;
  return text.slice(start, end);
}

/** A letter or digit of ASCII. */
export function isAlphanumeric(octet: number): boolean {
  const lower = octet | 0x20;
  return (octet >= 0x30 && octet <= 0x39) || (lower >= 0x61 && lower <= 0x7a);
}

/** What a hexadecimal digit stands for; -1 for what is none, as NaN is, past the end of a text. */
export function hexDigit(octet: number): number {
  if (octet >= 0x30 && octet <= 0x39) return octet - 0x30;
  const lower = octet | 0x20;
  return lower >= 0x61 && lower <= 0x66 ? lower - 0x57 : -1;
}

/** JSON in visible ASCII: DEL and what is beyond, which stand in strings only, as `\\u` escapes. */
export function toAsciiJson(json: string): string {
  return json.replaceAll(/[\x7f-\uffff]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

/** The table of those octets that match, by octet: 1 for them, 0 for others. Past its end it reads `undefined`. */
export function octetSet(pattern: RegExp): Uint8Array {
  return Uint8Array.from({ length: 256 }, (_, octet) => (pattern.test(String.fromCharCode(octet)) ? 1 : 0));
}
