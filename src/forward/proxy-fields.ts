/** Fields between a client and its next proxy (RFC 9110 section 11.7), and Proxy-Connection, which some send: dropped both ways. */
export const PROXY_FIELDS: ReadonlySet<string> = new Set([
  "proxy-connection",
  "proxy-authenticate",
  "proxy-authentication-info",
  "proxy-authorization",
]);
