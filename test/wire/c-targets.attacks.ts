import { expect } from "vitest";
import { valuesOf } from "../support/http-parsers.ts";
import { fieldOf } from "../support/raw-client.ts";
import { type Attack, type AttackResult, auth, denied, refused, served } from "../support/rig.ts";
import { get, post } from "./wire.ts";

export const AMBIGUOUS = "err:user:bad_request:ambiguous_path";
const INVALID = "err:user:bad_request:invalid_request";
export const MISSING = "err:unkey:authentication:missing";
const NOT_FOUND = "err:sentinel:routing:route_not_found";
const METHOD = "err:sentinel:routing:method_not_allowed";
const RESOURCE_ID = "err:user:bad_request:invalid_resource_id";
const PERMISSION = "err:unkey:authorization:insufficient_permissions";

function targetIs(target: string): (seen: AttackResult) => void {
  return ({ requests }) => expect(requests.map((request) => request.target)).toEqual([target]);
}

/**
 * Every spelling is tried without a key and with a good one: what is ambiguous is so for everybody. `%2f` and `;` are
 * judged once the route is known, so that where none matches there is none.
 */
function ambiguous(number: string, targets: readonly string[]): Attack[] {
  return targets.flatMap((target) =>
    ["", auth()].map((fields) => ({
      name: `${number} ${JSON.stringify(target)} is ambiguous ${fields === "" ? "without" : "with"} a key`,
      send: get(target, fields),
      expect: [...denied(400, AMBIGUOUS), ...(/;|%2f|%3b/i.test(target) ? denied(404, NOT_FOUND) : [])],
    })),
  );
}

export const respellings: Attack[] = [
  ...ambiguous("063", [
    "//admin",
    "///admin",
    "/x//admin",
    "//host/admin",
    "//public/../admin",
    "/public//",
    "/admin//",
  ]),
  ...ambiguous("064", [
    "/./admin",
    "/public/../admin",
    "/public/.%2e/admin",
    "/public/%2e./admin",
    "/public/%2E%2e/admin",
    "/%2e%2e/admin",
    "/..",
    "/.",
    "/%2e",
    "/public/.",
    "/public/..",
    "/public/%2e/",
    "/public/../../admin",
  ]),
  ...ambiguous("065", [
    "/public%2fx",
    "/public%2F..%2fadmin",
    "/%2fadmin",
    "/admin%2f",
    "/public/..%2fadmin",
    "/public%5cx",
    "/public/..%5cadmin",
    "/public\\..\\admin",
    "/\\admin",
    "\\admin",
    "/slash/..%2fadmin",
    "/slash/a%2f..%2fadmin",
    "/slash/a%2f%2e%2e%2fadmin",
    "/slash/a%5cb",
  ]),
  {
    name: "065 %2f where the route allows it is data inside one segment",
    send: get("/slash/a%2fb", auth()),
    expect: served(),
    claim: targetIs("/slash/a%2Fb"),
  },
  ...["/%61dmin", "/adm%69n", "/%61%64%6d%69%6e", "/%61dmin/x"].flatMap((target) => [
    { name: `066 ${target} without a key is /admin, and 401`, send: get(target), expect: denied(401, MISSING) },
    {
      name: `066 ${target} with a key goes on as /admin`,
      send: get(target, auth()),
      expect: served(),
      claim: targetIs(target.endsWith("/x") ? "/admin/x" : "/admin"),
    },
  ]),
  ...ambiguous("067", [
    "/public/..;/admin",
    "/admin;a=b",
    "/;/admin",
    "/public;/x",
    "/public%3b/x",
    "/semi/..;/admin",
    "/semi/..%3b/admin",
  ]),
  {
    name: "067 ; where the route allows it is data inside a segment",
    send: get("/semi/a;b=1", auth()),
    expect: served(),
    claim: targetIs("/semi/a;b=1"),
  },
  ...ambiguous("068", [
    "/%252e%252e/admin",
    "/public%252fadmin",
    "/%2561dmin",
    "/%25%36%31dmin",
    "/public/%25%32%65",
    "/public/%25%32%66x",
  ]),
  ...ambiguous(
    "069",
    [
      "/public/%00",
      "/public/%0d%0aX:1",
      "/public/%09",
      "/public/%7f",
      "/public/%",
      "/public/%z1",
      "/public/%1",
      "/public/%u0061",
      "/public/x?",
    ].slice(0, -1),
  ),
  ...ambiguous("070", [
    "/public/%c0%ae",
    "/public/%ed%a0%80",
    "/public/%ff",
    "/public/%e2%28%a1",
    "/public/%f4%90%80%80",
    "/public/%c3",
  ]),
  ...["/public/caf\xc3\xa9", "/public/\x7f", "/public/\x01", "/public?x=\xe9", "/public?x=\x01"].map((target) => ({
    name: `070 raw ${JSON.stringify(target)} is refused`,
    send: get(target),
    expect: [...denied(400, AMBIGUOUS), refused(400, INVALID)],
  })),
  ...ambiguous("071", ["/admin#x", "/public#/../admin", "/public?x=1#y", "/#/admin"]),
  ...['"', "<", ">", "^", "{", "|", "}", "`"].map((character) => ({
    name: `071 ${character} in a path is ambiguous`,
    send: get(`/public/a${character}b`),
    expect: denied(400, AMBIGUOUS),
  })),
  {
    name: "071 the same characters are fine in a query, which goes on as it came",
    send: get('/public?a="<>^{|}`//..\\;%2f%00'),
    expect: served(),
    claim: targetIs('/public?a="<>^{|}`//..\\;%2f%00'),
  },
  {
    name: "071 an absent path is refused",
    send: get("admin", auth()),
    expect: [...denied(400, AMBIGUOUS), refused(400, INVALID)],
  },
];

/** A request with its own Host line. */
function withHost(host: string, target = "/any", fields = auth()): string {
  return `GET ${target} HTTP/1.1\r\nHost: ${host}\r\n${fields}\r\n`;
}

export const hosts: Attack[] = [
  {
    name: "072 an absolute-form target that agrees with Host becomes origin-form",
    send: get("http://gw/any/x?y=1", auth()),
    expect: served(),
    claim: targetIs("/any/x?y=1"),
  },
  {
    name: "072 an absolute-form target is guarded like any other",
    send: get("http://gw/admin"),
    expect: denied(401, MISSING),
  },
  ...[
    "http://other/any",
    "http://gw@other/any",
    "http://gw:81/any",
    "http://user:pw@gw/any",
    "http://gw.evil/any",
    "ftp://gw/any",
  ].map((target) => ({
    name: `072 ${target} with Host: gw is 400`,
    send: get(target, auth()),
    expect: [...denied(400, INVALID), ...denied(400, AMBIGUOUS)],
  })),
  ...["http://gw//admin", "http://gw/public/../admin", "http://gw\\@other/any", "http:///admin", "http://gw#/any"].map(
    (target) => ({
      name: `072 ${target} is 400`,
      send: get(target, auth()),
      expect: [...denied(400, AMBIGUOUS), ...denied(400, INVALID)],
    }),
  ),
  ...["http://gw", "http://gw?x=1", "https://gw/nowhere"].map((target) => ({
    name: `072 ${target} is refused or reaches no route`,
    send: get(target, auth()),
    expect: [...denied(400), ...denied(404, NOT_FOUND)],
  })),
  { name: "073 two Host fields are 400", send: get("/any", `Host: gw\r\n${auth()}`), expect: refused(400, INVALID) },
  {
    name: "073 no Host is 400",
    send: `GET /any HTTP/1.1\r\n${auth()}\r\n`,
    expect: refused(400, INVALID),
  },
  {
    name: "073 no Host is fine in HTTP/1.0",
    send: `GET /any HTTP/1.0\r\n${auth()}\r\n`,
    expect: { ...served(), closed: true },
  },
  ...[
    "a, b",
    "a/b",
    "a@b",
    "a b",
    "",
    "gw:99999",
    "gw:x",
    "gw:-1",
    "[::1",
    "::1",
    "[::1]x",
    "gw:80:80",
    "a\\b",
    "a?b",
    "a#b",
    "gw\xe9",
    "http://gw",
    "%67w",
    "gw_",
    "<gw>",
  ].map((host) => ({
    name: `073 Host ${JSON.stringify(host)} is 400`,
    send: withHost(host),
    // An underscore is no host name by the letter, and common in practice.
    expect: host === "gw_" ? [refused(400, INVALID), served()] : refused(400, INVALID),
  })),
  ...["[::1]", "[::1]:8080", "127.0.0.1:80", "gw:", "GW", "xn--bcher-kva.example"].map((host) => ({
    name: `073 Host ${host} is one`,
    send: withHost(host),
    expect: [served(), ...(host === "gw:" ? [refused(400, INVALID)] : [])],
  })),
  ...["api.example.com", "API.Example.com", "api.example.com.", "api.example.com:443", "API.EXAMPLE.COM:8080"].map(
    (host) => ({
      name: `074 Host ${host} is the host route's`,
      send: withHost(host, "/host", ""),
      expect: served(),
    }),
  ),
  ...["example.com", "api.example.com.evil", "xapi.example.com", "api.example.co"].map((host) => ({
    name: `074 Host ${host} is not the host route's`,
    send: withHost(host, "/host", ""),
    expect: denied(404, NOT_FOUND),
  })),
];

export const routing: Attack[] = [
  ...["/administrator", "/admin-x", "/Admin", "/ADMIN", "/admin.", "/admin%20", "/publicx"].map((target) => ({
    name: `076 ${target} is not a route's`,
    send: get(target, auth()),
    expect: denied(404, NOT_FOUND),
  })),
  ...["/admin?/public", "/admin?x=/../public", "/admin??/public", "/admin?x=1&/public/y", "/admin/?"].flatMap(
    (target) => [
      { name: `077 ${target} is routed by its path alone`, send: get(target), expect: denied(401, MISSING) },
      {
        name: `077 the query of ${target} goes on as it came`,
        send: get(target, auth()),
        expect: served(),
        claim: targetIs(target),
      },
    ],
  ),
  ...[
    "X-Forwarded-Uri",
    "X-Original-URL",
    "X-Original-Uri",
    "X-Rewrite-URL",
    "X-Forwarded-Prefix",
    "X-Forwarded-Method",
    "X_Original_URL",
    "X.Rewrite.Url",
  ].flatMap((name) => [
    {
      name: `078 ${name} does not lead to another route`,
      send: get("/admin", `${name}: /public\r\n`),
      expect: denied(401, MISSING),
    },
    {
      name: `078 ${name} is not passed on`,
      send: get("/public", `${name}: /admin\r\n`),
      expect: served(),
      claim: ({ requests }: AttackResult) => expect(requests.flatMap((each) => valuesOf(each, name))).toEqual([]),
    },
  ]),
  ...["X-HTTP-Method-Override", "X-Method-Override", "X-HTTP-Method", "X_HTTP_Method_Override"].map((name) => ({
    name: `079 ${name} is not passed on`,
    send: get("/any", `${auth("RO")}${name}: DELETE\r\n`),
    expect: served(),
    claim: ({ requests }: AttackResult) => expect(requests.flatMap((each) => valuesOf(each, name))).toEqual([]),
  })),
  ...["POST", "DELETE", "PATCH", "PROPFIND", "OPTIONS", "M-SEARCH", "QUERY"].map((method) => ({
    name: `080 ${method} on a route for GET is 405`,
    send:
      method === "OPTIONS"
        ? get("/only", auth(), method)
        : `${method} /only HTTP/1.1\r\nHost: gw\r\n${auth()}Content-Length: 0\r\n\r\n`,
    // QUERY is newer than some parsers.
    expect: [...denied(405, METHOD), ...(method === "QUERY" ? [refused(400, INVALID)] : [])],
    claim: ({ answers }: AttackResult) => {
      if (answers[0]?.status === 405) expect(fieldOf(answers[0], "allow")).toBe("GET, HEAD");
    },
  })),
  ...["get", "GETT", "Get", "G\xe9T", "FOO BAR"].map((method) => ({
    name: `080 the method ${JSON.stringify(method)} is refused`,
    send: `${method} /only HTTP/1.1\r\nHost: gw\r\n${auth()}\r\n`,
    expect: [refused(400, INVALID), ...denied(405, METHOD)],
  })),
  {
    name: "081 HEAD needs the same key as GET",
    send: get("/only", "", "HEAD"),
    methods: ["HEAD"],
    expect: denied(401),
  },
  {
    name: "081 HEAD goes through where GET does",
    send: get("/only", auth(), "HEAD"),
    methods: ["HEAD"],
    expect: served(),
  },
  {
    name: "081 a preflight is no way around",
    send: get("/admin", "Origin: https://evil.example\r\nAccess-Control-Request-Method: GET\r\n", "OPTIONS"),
    expect: denied(401, MISSING),
  },
  ...[
    "/strip../admin",
    "/strip%2e./admin",
    "/strip/../admin",
    "/strip/%2e%2e/admin",
    "/strip//admin",
    "/strip/;/admin",
  ].map((target) => ({
    name: `082 ${target} can not leave the stripped prefix`,
    send: get(target, auth()),
    expect: [
      ...denied(400, AMBIGUOUS),
      ...(target.startsWith("/strip.") || target.startsWith("/strip%") ? denied(404, NOT_FOUND) : []),
    ],
  })),
  { name: "082 /stripx is not under /strip", send: get("/stripx", auth()), expect: denied(404, NOT_FOUND) },
  ...[
    ["/strip/x?y=1", "/x?y=1"],
    ["/strip", "/"],
    ["/strip/", "/"],
  ].map(([target, wanted]) => ({
    name: `082 ${target} goes on as ${wanted}`,
    send: get(target as string, auth()),
    expect: served(),
    claim: targetIs(wanted as string),
  })),
  ...["/livez", "/readyz", "/metrics", "/healthz", "/-/ready"].map((target) => ({
    name: `086 ${target} is not on the client port`,
    send: get(target, auth()),
    expect: denied(404, NOT_FOUND),
  })),
  ...["kube-probe/1.30", "GoogleHC/1.0", "ELB-HealthChecker/2.0"].map((agent) => ({
    name: `087 User-Agent ${agent} needs a key like any other`,
    send: get("/admin", `User-Agent: ${agent}\r\n`),
    expect: denied(401, MISSING),
  })),
  {
    name: "088 a target of 8,192 bytes is served",
    send: get(`/any/${"a".repeat(8192 - 5)}`, auth()),
    expect: served(),
  },
  {
    name: "088 a target of 8,193 bytes is 414",
    send: get(`/any/${"a".repeat(8193 - 5)}`, auth()),
    expect: refused(414, "err:user:bad_request:target_too_long"),
  },
  {
    name: "088 two thousand segments are matched in linear time",
    send: get(`/any${"/a".repeat(2000)}`, auth()),
    expect: served(),
  },
  ...["*", "a.b", "a%2eb", "%2a", "a".repeat(256), "a%20b", "a:b", "%e2%82%ac", "api_1%2C"].map((id) => ({
    name: `091 the id ${id.length > 20 ? "of 256 characters" : id} is refused, and never a wildcard`,
    send: get(`/v2/apis/${id}`, auth()),
    expect: denied(400, RESOURCE_ID),
    claim: ({ answers }: AttackResult) => expect(answers[0]?.body.toString()).not.toContain(`"${id}"`),
  })),
  { name: "091 an empty id is no segment", send: get("/v2/apis/", auth()), expect: denied(404, NOT_FOUND) },
  { name: "092 the granted id passes", send: get("/v2/apis/api_1", auth("RO")), expect: served() },
  ...["api_12", "api_", "API_1", "Api_1", "api_1_"].map((id) => ({
    name: `092 a grant for api_1 is none for ${id}`,
    send: get(`/v2/apis/${id}`, auth("RO")),
    expect: denied(403, PERMISSION),
  })),
  {
    name: "092 an id from the body is not taken from the query",
    send: post("/v2/keys.createKey?apiId=api_1", "{}", `${auth()}Content-Type: application/json\r\n`),
    expect: denied(400, RESOURCE_ID),
  },
  ...[
    '{"apiId":"api_1","apiId":"api_2"}',
    '{"a":{"b":1,"b":2},"apiId":"api_1"}',
    '{"apiId":"api_1"',
    "[]x",
    '\xff{"apiId":"api_1"}',
  ].map((body) => ({
    name: `092 the body ${JSON.stringify(body)} is 400`,
    send: post("/v2/keys.createKey", body, `${auth()}Content-Type: application/json\r\n`),
    expect: denied(400, "err:user:bad_request:invalid_body"),
  })),
  ...["gzip", "br", "deflate", "identity, br", "x-any", ""].map((coding) => ({
    name: `092 a body that the upstream reads as another, by the coding ${JSON.stringify(coding)}, is 400`,
    send: post(
      "/v2/keys.createKey",
      '{"apiId":"api_1"}',
      `${auth()}Content-Type: application/json\r\nContent-Encoding: ${coding}\r\n`,
    ),
    expect: denied(400, "err:user:bad_request:invalid_body"),
  })),
  {
    name: "092 the coding in another spelling, or a second one, is 400 too",
    send: post(
      "/v2/keys.createKey",
      '{"apiId":"api_1"}',
      `${auth()}Content-Type: application/json\r\nContent-Encoding: identity\r\nContent_Encoding: br\r\n`,
    ),
    expect: denied(400, "err:user:bad_request:invalid_body"),
  },
  {
    name: "092 identity is no coding",
    send: post(
      "/v2/keys.createKey",
      '{"apiId":"api_1"}',
      `${auth()}Content-Type: application/json\r\nContent-Encoding: Identity\r\n`,
    ),
    expect: served(),
  },
  {
    name: "092 a body that was read goes on as the very same bytes",
    send: post(
      "/v2/keys.createKey",
      '{ "apiId" : "api_1",\n"x":1.0 }',
      `${auth()}Content-Type: application/json; charset=utf-8\r\n`,
    ),
    expect: served(),
    claim: ({ requests }) => expect(requests[0]?.body.toString()).toBe('{ "apiId" : "api_1",\n"x":1.0 }'),
  },
];
