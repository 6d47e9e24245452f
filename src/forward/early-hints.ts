/**
 * The Link values of a 103 that may be handed to `writeEarlyHints`. That checks them by an expression in which a `=`
 * within a value can be read in two ways: with twenty of them in front of a mistake, it would try for hours. So only
 * what has one reading gets there, found in one pass. The others are left out: they are hints, and the final answer
 * carries what matters.
 */
export function earlyHintLinks(headers: readonly string[]): string[] {
  const links: string[] = [];
  for (let at = 0; at < headers.length; at += 2) {
    const value = headers[at + 1]!;
    if (headers[at]!.toLowerCase() === "link" && LINK.test(value)) links.push(value);
  }
  return links;
}

/** `<target>; name=value; name="value"`: at each character there is one way to go on. */
const LINK = /^<[^<>]*>(?:[ \t]*;[ \t]*[^;"=\s]+(?:=(?:"[^;"\s]*"|[^;"=\s]*))?)*$/;
