/**
 * What is wrong with the framing of an upstream's answer, or null. Checked in front of whatever the parser let through:
 * node's takes codings other than chunked and reads such bodies until the connection closes.
 */
export function answerProblem(rawHeaders: readonly string[], httpVersion = "1.1"): string | null {
  let lengths = 0;
  let codings = 0;
  for (let at = 0; at < rawHeaders.length; at += 2) {
    const name = rawHeaders[at]!;
    if (name.length === 14 && name.toLowerCase() === "content-length") {
      if (!isLength(rawHeaders[at + 1]!)) return "a Content-Length that is none";
      lengths += 1;
    } else if (name.length === 17 && name.toLowerCase() === "transfer-encoding") {
      if (rawHeaders[at + 1]!.toLowerCase() !== "chunked") return "a Transfer-Encoding other than chunked";
      codings += 1;
    }
  }
  if (lengths > 1) return "two Content-Length fields";
  if (codings > 1) return "two Transfer-Encoding fields";
  if (codings === 1 && lengths === 1) return "both Content-Length and Transfer-Encoding";
  if (codings === 1 && httpVersion === "1.0") return "Transfer-Encoding on HTTP/1.0";
  return null;
}

/** 15 digits are a petabyte, and safe integers. */
function isLength(value: string): boolean {
  return /^\d{1,15}$/.test(value);
}
