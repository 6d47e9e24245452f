import { expect } from "vitest";
import { valuesOf } from "../support/http-parsers.ts";
import { fieldOf } from "../support/raw-client.ts";
import { type Attack, type AttackResult, auth, denied, KEYS, refused, served } from "../support/rig.ts";
import { chunked, get, post } from "./wire.ts";

const MISSING = "err:unkey:authentication:missing";
const MALFORMED = "err:unkey:authentication:malformed";
const KEY_NOT_FOUND = "err:unkey:authentication:key_not_found";
const INVALID = "err:user:bad_request:invalid_request";

function withAuthorization(value: string): string {
  return get("/any", `Authorization: ${value}\r\n`);
}

export function sent({ requests }: AttackResult, name: string): string[] {
  return requests.flatMap((request) => valuesOf(request, name));
}

const BEARER = `Bearer ${KEYS.OK}`;

export const credentials: Attack[] = [
  { name: "093 no Authorization is missing", send: get("/any"), expect: denied(401, MISSING) },
  // The contract says that an empty field is malformed: only an absent one is missing.
  ...["", " ", " \t "].map((value) => ({
    name: `093 an Authorization of ${JSON.stringify(value)} is malformed`,
    send: withAuthorization(value),
    expect: denied(401, MALFORMED),
  })),
  ...[
    `bearer ${KEYS.OK}`,
    `BEARER ${KEYS.OK}`,
    `Bearer  ${KEYS.OK}`,
    `Bearer\t${KEYS.OK}`,
    `Bearer${KEYS.OK}`,
    `Bearer: ${KEYS.OK}`,
    `Bearer ${KEYS.OK}\xa0`,
    `Bearer "${KEYS.OK}"`,
    "Bearer",
    "Bearer unkey_",
    KEYS.OK,
    `Bearer ${KEYS.OK.replace("unkey_", "sk_")}`,
    `Bearer ${KEYS.OK.replace("unkey_", "UNKEY_")}`,
    `Bearer unkey_${"a".repeat(507)}`,
    `Bearer ${KEYS.OK}\xf0\x9f\x98\x80`,
    `Bearer ${KEYS.OK} x`,
    `Bearer ${KEYS.OK}.`,
    `Bearer ${KEYS.OK}=`,
    `Bearer ${KEYS.OK}%20`,
    `Bearer *`,
    `Bearer unkey_*`,
    `Bearer token=${KEYS.OK}`,
  ].map((value) => ({
    name: `094 ${JSON.stringify(value.replaceAll(KEYS.OK, "KEY").slice(0, 40))} is malformed`,
    send: withAuthorization(value),
    expect: denied(401, MALFORMED),
  })),
  ...[`Bearer ${KEYS.OK}\x00`, `Bearer ${KEYS.OK}\rx`, `Bearer\n${KEYS.OK}`, `Bearer\r\n ${KEYS.OK}`].map((value) => ({
    name: `094 ${JSON.stringify(value.replaceAll(KEYS.OK, "KEY"))} is not clean HTTP`,
    send: withAuthorization(value),
    expect: [refused(400, INVALID), ...denied(401, MALFORMED)],
  })),
  ...[`  ${BEARER}`, `${BEARER}  \t`].map((value) => ({
    name: `094 white space around the value is HTTP's: ${JSON.stringify(value.replaceAll(KEYS.OK, "KEY"))}`,
    send: withAuthorization(value),
    expect: served(),
  })),
  ...[
    ["good and unknown", BEARER, `Bearer ${KEYS.UNKNOWN}`],
    ["unknown and good", `Bearer ${KEYS.UNKNOWN}`, BEARER],
    ["empty and good", "", BEARER],
    ["good and empty", BEARER, ""],
    ["Basic and good", "Basic eA==", BEARER],
    ["the same twice", BEARER, BEARER],
  ].flatMap(([what, first, second]) => [
    {
      name: `095 two Authorization fields (${what}) are malformed`,
      send: get("/any", `Authorization: ${first}\r\nAuthorization: ${second}\r\n`),
      expect: denied(401, MALFORMED),
    },
    {
      name: `095 two Authorization fields (${what}) are 400 on an open route`,
      send: get("/public", `Authorization: ${first}\r\nauthorization: ${second}\r\n`),
      expect: denied(400, INVALID),
    },
  ]),
  ...["Authorization_", "Authorization."].map((name) => ({
    name: `095 ${name} beside a good Authorization does no harm`,
    send: get("/any", `${auth()}${name}: Bearer x\r\n`),
    expect: [served(), ...denied(400, INVALID), ...denied(401, MALFORMED)],
  })),
  ...[`${BEARER}, Bearer ${KEYS.UNKNOWN}`, `Bearer ${KEYS.UNKNOWN}, ${BEARER}`, `${BEARER},`].map((value) => ({
    name: `096 a list of credentials is malformed: ${value.replaceAll(KEYS.OK, "KEY").replaceAll(KEYS.UNKNOWN, "OTHER")}`,
    send: withAuthorization(value),
    expect: denied(401, MALFORMED),
  })),
  ...[
    "Basic dXNlcjpwYXNz",
    'Digest username="x"',
    `Token ${KEYS.OK}`,
    "AWS4-HMAC-SHA256 Credential=x",
    "Negotiate x",
    "null",
    "undefined",
  ].map((value) => ({
    name: `097 ${value.replaceAll(KEYS.OK, "KEY")} is malformed, and never anonymous`,
    send: withAuthorization(value),
    expect: denied(401, MALFORMED),
  })),
  ...["Basic eA==", "garbage", `Bearer ${KEYS.UNKNOWN}`, BEARER].map((value) => ({
    name: `098 on an open route ${value.slice(0, 12)} goes on as it came, without an identity`,
    send: get("/public", `Authorization: ${value}\r\n`),
    expect: served(),
    claim: (seen: AttackResult) => {
      expect(sent(seen, "authorization")).toEqual([value]);
      expect(sent(seen, "x-unkey-principal")).toEqual([]);
    },
  })),
  ...[
    ["the query", get(`/any?key=${KEYS.OK}&authorization=Bearer%20${KEYS.OK}&access_token=${KEYS.OK}`)],
    ["a cookie", get("/any", `Cookie: Authorization=${KEYS.OK}; key=${KEYS.OK}\r\n`)],
    ["X-API-Key", get("/any", `X-API-Key: ${KEYS.OK}\r\n`)],
    ["X-Authorization", get("/any", `X-Authorization: ${BEARER}\r\nX-Forwarded-Authorization: ${BEARER}\r\n`)],
    ["Proxy-Authorization", get("/any", `Proxy-Authorization: ${BEARER}\r\n`)],
    ["a trailer", chunked("/any", `0\r\n${auth()}\r\n`)],
    ["a form", post("/any", `access_token=${KEYS.OK}`, "Content-Type: application/x-www-form-urlencoded\r\n")],
  ].map(([what, bytes]) => ({
    name: `099 a key in ${what} is no key`,
    send: bytes as string,
    expect: denied(401, MISSING),
  })),
  {
    name: "100 Authorization reaches the upstream as it came, once",
    send: get("/any", `aUTHORIZATION:${BEARER}\r\n`),
    expect: served(),
    claim: (seen) => {
      expect(sent(seen, "authorization")).toEqual([BEARER]);
      expect(seen.requests[0]?.headers.map(([name]) => name)).toContain("aUTHORIZATION");
    },
  },
  ...[
    "X-Unkey-Principal",
    "x-unkey-principal",
    "X_Unkey_Principal",
    "X-Unkey_Principal",
    "X.Unkey.Principal",
    "X-Unkey-Anything",
    "x_unkey.KeyId",
    "X~Unkey~Principal",
    "x!unkey+keyId",
    "X-UNKEY-",
  ].flatMap((name) =>
    ["/any", "/public"].map((path) => ({
      name: `101 a client's ${name} does not reach ${path}`,
      send: get(path, `${auth()}${name}: {"keyId":"key_forged"}\r\n${name}: twice\r\n`),
      expect: served(),
      claim: ({ requests }: AttackResult) => {
        const values = requests.flatMap((request) =>
          request.headers.filter(([each]) => /^x[^a-z0-9]unkey[^a-z0-9]/i.test(each)).map(([, value]) => value),
        );
        expect(values.length).toBe(path === "/any" ? 1 : 0);
        expect(values.join()).not.toContain("forged");
      },
    })),
  ),
  {
    name: "101 the principal is what the contract says",
    send: get("/any", auth()),
    expect: served(),
    claim: (seen) =>
      expect(JSON.parse(sent(seen, "x-unkey-principal")[0] ?? "{}")).toEqual({
        version: "v1",
        subject: "key_ok",
        type: "API_KEY",
        source: {
          key: {
            keyId: "key_ok",
            workspaceId: "ws_on",
            meta: {},
            permissions: ["admin.main.use", "api.*.create_key", "api.*.read_api", "doc.main.write"],
          },
        },
      }),
  },
  {
    name: "102 X-Forwarded-* of a stranger are made anew from the socket",
    send: get(
      "/any",
      `${auth()}X-Forwarded-For: 1.2.3.4\r\nX-Forwarded-Host: evil\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Port: 1\r\nX-Forwarded-Prefix: /p\r\nForwarded: for=1.2.3.4\r\nX-Real-IP: 1.2.3.4\r\n`,
    ),
    expect: served(),
    claim: (seen) => {
      expect(sent(seen, "x-forwarded-for")).toEqual(["127.0.0.1"]);
      expect(sent(seen, "x-forwarded-host")).toEqual(["gw"]);
      expect(sent(seen, "x-forwarded-proto")).toEqual(["http"]);
      expect(sent(seen, "x-forwarded-port")).toEqual([String(seen.rig.gateway.port)]);
      expect(sent(seen, "x-forwarded-prefix")).toEqual([]);
      expect(sent(seen, "forwarded")).toEqual([]);
      expect(sent(seen, "x-real-ip")).toEqual([]);
    },
  },
  {
    name: "103 their other spellings are dropped",
    send: get(
      "/any",
      `${auth()}X_Forwarded_For: 1.2.3.4\r\nX.Forwarded.Host: evil\r\nX-Forwarded_Proto: https\r\nX_Real_IP: 1.2.3.4\r\nX-Forwarded.Port: 1\r\nX_Forwarded_User: root\r\nX+Forwarded+Proto: https\r\nX~Real~IP: 1.2.3.4\r\n`,
    ),
    expect: served(),
    claim: ({ requests }) =>
      expect(
        requests[0]?.headers
          .map(([name]) => name)
          .filter((name) => /^x[^a-z0-9](forwarded|real)/i.test(name) && /[^a-z0-9-]/i.test(name)),
      ).toEqual([]),
  },
  ...["__proto__", "constructor", "hasOwnProperty", "toString", "valueOf", "prototype"].map((name) => ({
    name: `104 a field named ${name} is a field`,
    send: get("/any", `${auth()}${name}: x\r\n`),
    expect: served(),
    claim: (seen: AttackResult) => expect([[], ["x"]]).toContainEqual(sent(seen, name)),
  })),
  ...["__proto__", "constructor", "toString"].map((name) => ({
    name: `104 a path of ${name} is a path`,
    send: get(`/${name}`, auth()),
    expect: denied(404, "err:sentinel:routing:route_not_found"),
  })),
  ...["x".repeat(10_000), "<script>alert(1)</script>", "a\tb", "req_aaaaaaaaaaaaaaa"].map((value) => ({
    name: `105 a client's X-Request-Id of ${value.length} characters is replaced`,
    send: get("/any", `${auth()}X-Request-Id: ${value}\r\n`),
    expect: served(),
    claim: (seen: AttackResult) => {
      const ids = sent(seen, "x-request-id");
      expect(ids).toEqual([expect.stringMatching(/^req_[0-9a-z]{15}$/)]);
      expect(ids).not.toContain(value);
      expect(fieldOf(seen.answers[0] ?? { headers: [] }, "x-request-id")).toBe(ids[0]);
    },
  })),
  {
    name: "106 a key without the permission is 403, named, and its body is not read",
    send: post("/write", "a".repeat(1000), auth("RO")),
    expect: refused(403, "err:unkey:authorization:insufficient_permissions"),
    claim: ({ answers }) =>
      expect(JSON.parse(answers[0]?.body.toString() ?? "{}").error.detail).toBe(
        "Your key does not have the required 'doc.main.write' permission",
      ),
  },
  ...(
    [
      ["EXPIRED", 401, KEY_NOT_FOUND],
      ["UNKNOWN", 401, KEY_NOT_FOUND],
      ["DISABLED", 403, "err:unkey:authorization:key_disabled"],
      ["WORKSPACE_OFF", 403, "err:unkey:authorization:workspace_disabled"],
    ] as const
  ).flatMap(([key, status, code]) =>
    ["/any", "/admin"].map((path) => ({
      name: `107 the ${key} key is ${status} on ${path}`,
      send: get(path, auth(key)),
      expect: denied(status, code),
    })),
  ),
  ...Array.from({ length: KEYS.OK.length - 6 }, (_, index) => {
    const at = index + 6;
    const other = KEYS.OK[at] === "x" ? "y" : "x";
    return {
      name: `109 a key that differs at ${at} is not found`,
      send: withAuthorization(`Bearer ${KEYS.OK.slice(0, at)}${other}${KEYS.OK.slice(at + 1)}`),
      expect: denied(401, KEY_NOT_FOUND),
    };
  }),
  ...[KEYS.OK.slice(0, -1), `${KEYS.OK}x`, KEYS.OK.toLowerCase()].map((value, index) => ({
    name: `109 a part or an extension of a key is not found (${index})`,
    send: withAuthorization(`Bearer ${value}`),
    expect: denied(401, KEY_NOT_FOUND),
  })),
  {
    name: "111 a preflight without a key is 401",
    send: get("/any", "Origin: https://a.example\r\nAccess-Control-Request-Method: DELETE\r\n", "OPTIONS"),
    expect: denied(401, MISSING),
  },
  {
    name: "112 an envelope repeats nothing of the request",
    send: get(
      "/nowhere/xss-marker?q=xss-marker",
      'X-Marker: xss-marker\r\nHost2: <b>xss-marker\r\nUser-Agent: "xss-marker\r\n',
    ),
    expect: denied(404, "err:sentinel:routing:route_not_found"),
    claim: ({ client }) => expect(client.received.toString("latin1")).not.toContain("xss-marker"),
  },
  {
    name: "112 the envelope of HEAD is its headers alone",
    send: get("/any", "", "HEAD"),
    methods: ["HEAD"],
    expect: denied(401),
    claim: ({ client }) => expect(client.rest().length).toBe(0),
  },
  ...(
    [
      ["a missing key is asked for with Bearer", get("/any"), 401, "WWW-Authenticate", 'Bearer realm="sentinel"'],
      [
        "a malformed one is told so",
        withAuthorization("Basic eA=="),
        401,
        "WWW-Authenticate",
        'Bearer realm="sentinel", error="invalid_request"',
      ],
      [
        "an unknown one is told so",
        get("/any", auth("UNKNOWN")),
        401,
        "WWW-Authenticate",
        'Bearer realm="sentinel", error="invalid_token"',
      ],
      [
        "a permission that is missing asks for no other credential",
        get("/admin", auth("RO")),
        403,
        "WWW-Authenticate",
        null,
      ],
      ["a method that is not allowed is told which are", get("/only", auth(), "DELETE"), 405, "Allow", "GET, HEAD"],
    ] as const
  ).map(
    ([what, bytes, status, field, value]): Attack => ({
      name: `113 ${what}`,
      send: bytes,
      expect: denied(status),
      claim: ({ answers }) => expect(answers.map((answer) => fieldOf(answer, field))).toEqual([value]),
    }),
  ),
  {
    name: "150 a key that one route let through is asked for its permission on the next one, and on the first one again",
    send: [
      get("/v2/apis/api_1", auth("RO")),
      get("/v2/apis/api_2", auth("RO")),
      get("/admin", auth("RO")),
      get("/v2/apis/api_1", auth("RO")),
    ].join(""),
    expect: { answers: [200, 403, 403, 200].map((status) => ({ status })), closed: false, up: 2 },
  },
];
