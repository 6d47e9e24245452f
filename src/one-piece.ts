/**
 * The same text in one piece. V8 keeps a text that was put together as a tree of its parts, and walks it every time that
 * it is written: what is kept to be written often is kept so. Exact for whatever is well-formed Unicode.
 */
export function inOnePiece(text: string): string {
  return Buffer.from(text).toString();
}
