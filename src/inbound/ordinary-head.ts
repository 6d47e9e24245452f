import type { IncomingMessage } from "node:http";

/** The head of an Upgrade request as it would be without the wish to change protocol (RFC 9110 section 7.8). */
export function ordinaryHead(request: IncomingMessage): Buffer {
  const lines = [`${request.method} ${request.url} HTTP/${request.httpVersion}`];
  const { rawHeaders } = request;
  for (let i = 0; i + 1 < rawHeaders.length; i += 2) {
    const name = rawHeaders[i] as string;
    const value = rawHeaders[i + 1] as string;
    if (/^upgrade$/i.test(name)) continue;
    if (!/^connection$/i.test(name)) lines.push(`${name}: ${value}`);
    else
      lines.push(
        `${name}: ${value
          .split(",")
          .filter((token) => !/^\s*upgrade\s*$/i.test(token))
          .join(",")}`,
      );
  }
  return Buffer.from(`${lines.join("\r\n")}\r\n\r\n`, "latin1");
}
