import { CATALOGUE, FAULT_CODES, type FaultCode, formatFaultCode } from "./catalogue.ts";

/** `docs/errors.md`: every failure a client can see, when it occurs and what to do. A test compares the two. */
export function formatErrorsReference(): string {
  return `${INTRODUCTION}${FAULT_CODES.map(section).join("\n")}`;
}

function section(code: FaultCode): string {
  const { status, title, detail, level } = CATALOGUE[code];
  const { when, remedy } = ADVICE[code];
  return `## ${formatFaultCode(code)}

${status} ${title}${level === "info" ? "" : `, logged as ${level}`}. ${detail === null ? "The detail says what happened." : `Detail: \`${detail}\``}

- **When**: ${when}
- **What to do**: ${remedy}
`;
}

interface Advice {
  readonly when: string;
  readonly remedy: string;
}

const ADVICE: Readonly<Record<FaultCode, Advice>> = {
  "unkey:authentication:missing": {
    when: "The route needs a root key, and the request has no Authorization field.",
    remedy: "Send `Authorization: Bearer unkey_...`.",
  },
  "unkey:authentication:malformed": {
    when: "There is an Authorization field, but not exactly one of the form `Bearer`, one space, the key: another scheme or case, more spaces, two fields, another prefix than `keys.prefix`, characters that no key has, or more than 512 of them. No key was looked up.",
    remedy: "Compare what is sent with `Authorization: Bearer unkey_...`, byte for byte.",
  },
  "unkey:authentication:key_not_found": {
    when: "There is no such key: never was, deleted, expired, or past the grace of a reroll. The log line's `verdict` tells an expired key (`key_expired`) from an unknown one.",
    remedy:
      "`sentinel keys verify -` says the standing of a key; make a new one with `sentinel keys create` or `reroll`.",
  },
  "unkey:authorization:insufficient_permissions": {
    when: "The key is good, but was not granted what the route's `permissions` ask for. The detail names what is missing, never what the key holds.",
    remedy:
      "Grant the permission, or the same with `*` as its id, to the key or one of its roles. `sentinel explain` shows each tuple with the grant that satisfied it.",
  },
  "unkey:authorization:key_disabled": {
    when: "The key is known, and disabled.",
    remedy: "`sentinel keys enable KEY_ID`.",
  },
  "unkey:authorization:workspace_disabled": {
    when: "The key's workspace is disabled.",
    remedy: "Enable the workspace where key records come from: the keyring's `workspaces`, Redis, or the key service.",
  },
  "unkey:authorization:forbidden": {
    when: "Never by the gateway itself; the code is part of the vendor's table and can be given to other refusals.",
    remedy: "See the upstream's own documentation.",
  },
  "unkey:application:service_unavailable": {
    when: "The key source could not say whether there is such a key: Redis or the key service is out of reach and no record young enough is remembered, or the gateway is overloaded. A bad key never reads like this.",
    remedy:
      'Retry after `Retry-After` seconds. Operators: `/readyz`, `sentinel_key_lookups_total{outcome="error"}`, `sentinel_redis_up`.',
  },
  "unkey:application:unexpected_error": {
    when: "Something broke in the gateway. The log line has the cause.",
    remedy: "Report the request id.",
  },
  "user:bad_request:request_body_too_large": {
    when: "The body is larger than the route's `maxBodySize`. The connection is closed.",
    remedy: "Send less, or raise `maxBodySize`.",
  },
  "user:bad_request:invalid_resource_id": {
    when: "A value that fills a placeholder of the route's `permissions` is absent, empty, there twice, not text, longer than 255, or holds anything but letters, digits, `_` and `-`. Even where another alternative of an OR would do.",
    remedy: "Send the id as the detail asks for it.",
  },
  "user:bad_request:invalid_body": {
    when: "The route's `permissions` take an id from the body, which is not a JSON body: no or another content type, a content coding, not UTF-8, not JSON, or a member that is there twice.",
    remedy: "Send `Content-Type: application/json` and one JSON value, not compressed.",
  },
  "user:bad_request:ambiguous_path": {
    when: "The request target is one that different servers read differently: dot segments, `//`, a backslash, an escape of an escape, control characters, bytes that are not UTF-8; `%2F` or `;` where the route does not allow them.",
    remedy:
      "Send the resolved path. Where ids hold slashes or semicolons, set `allowEncodedSlash` or `allowSemicolon` on the route.",
  },
  "user:bad_request:invalid_request": {
    when: "The request is not clean HTTP/1.1: framing, Host, a field that may not be repeated, or a `Connection` that names a protected field. The connection is closed.",
    remedy: "Correct the client, or the proxy in front; the detail says what.",
  },
  "user:bad_request:target_too_long": {
    when: "The request target is longer than `limits.targetBytes`.",
    remedy: "Move parameters to the body, or raise the limit.",
  },
  "user:bad_request:expectation_failed": {
    when: "`Expect` asks for something other than `100-continue`.",
    remedy: "Leave the field out.",
  },
  "user:bad_request:headers_too_large": {
    when: "The header block is larger than `limits.headerBytes` or has more lines than `limits.headerLines`.",
    remedy: "Send less (often it is cookies), or raise the limit.",
  },
  "user:bad_request:http_version_not_supported": {
    when: "The request line names another version than HTTP/1.1 or HTTP/1.0.",
    remedy: "Speak HTTP/1.1 to the gateway; terminate HTTP/2 in front of it.",
  },
  "user:bad_request:request_timeout": {
    when: "The header block did not come within `limits.headerTimeout`, or the whole request within `limits.requestTimeout`.",
    remedy: "Retry; for slow uploads raise `limits.requestTimeout`.",
  },
  "sentinel:routing:route_not_found": {
    when: "No route matches host, path and headers.",
    remedy: "`sentinel routes` lists them; `sentinel explain METHOD URL` says which one a request gets.",
  },
  "sentinel:routing:loop_detected": {
    when: "The request's `Via` says that it went through this instance before.",
    remedy: "An upstream's target leads back to the gateway: correct it.",
  },
  "sentinel:routing:method_not_allowed": {
    when: "Routes match the path, but with other methods; `CONNECT` and `TRACE` always.",
    remedy: "Use one of the methods in `Allow`.",
  },
  "sentinel:upstream:bad_gateway": {
    when: "The upstream's answer is not clean HTTP, or it closed the connection before there was one.",
    remedy: "Operators: `sentinel_upstream_errors_total` has the reason, the log line the cause.",
  },
  "sentinel:upstream:service_unavailable": {
    when: "The upstream refuses connections, can not be found, its certificate does not verify, or none of its targets is healthy.",
    remedy:
      "Retry after `Retry-After` seconds. Operators: `sentinel_upstream_errors_total` has the reason, the log line the cause; `sentinel_upstream_healthy` the targets that are out.",
  },
  "sentinel:upstream:gateway_timeout": {
    when: "No connection within `timeouts.connect`, or no first byte of the answer within `timeouts.response`.",
    remedy: "Retry if the request may be repeated; for slow answers raise the route's or the upstream's `timeouts`.",
  },
};

const INTRODUCTION = `# Errors

Every failure that the gateway itself answers with. This page is made from \`src/faults/catalogue.ts\` by \`npm run generate\`; a
test compares the two. The body is JSON, members in this order, without white space:

\`\`\`json
{"meta":{"requestId":"req_2c9a0jf23l4k567"},"error":{"detail":"Authentication credentials were not provided","status":401,"title":"Unauthorized","type":"https://unkey.com/docs/errors/unkey/authentication/missing"}}
\`\`\`

- \`type\` is \`errors.typeBase\` and the code's last three parts. A 400 has \`errors\` after it: \`location\`, \`message\`, perhaps \`fix\`.
- \`X-Unkey-Error-Source: sentinel\` marks them; an upstream's own errors pass through untouched, without it.
- \`requestId\` is also in \`X-Request-Id\`, in the log line, and in the request that the upstream gets.
- 429 and 503 have \`Retry-After\`; 401 has \`WWW-Authenticate\`; 405 has \`Allow\`.
- \`errors.overrides\` changes status, title, detail or type of any of them, by its whole code:

\`\`\`yaml
errors:
  overrides:
    "err:sentinel:routing:route_not_found": { detail: There is nothing here }
\`\`\`

`;
