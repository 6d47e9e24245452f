import { describe, expect, it } from "vitest";
import { type DecideContext, decide, type ReadBody, type Verdict } from "../src/decide.ts";
import { isFault } from "../src/faults/fault.ts";
import { readHead } from "../src/head.ts";
import { hashKey } from "../src/keys/bearer.ts";
import { grantsOf, type KeyRecord } from "../src/keys/root-key.ts";
import { type KeySource, type Lookup, SourceUnavailable } from "../src/keys/source.ts";
import { isQueryProblem, parseQuery } from "../src/permissions/parse-query.ts";
import { parsePathPattern } from "../src/routes/pattern.ts";
import type { Access, Route } from "../src/routes/route.ts";
import { compileRouteTable } from "../src/routes/table.ts";
import { recordOf } from "./support/key-parts.ts";

const NOW = 1_800_000_000_000;
const SECRET = "unkey_1234567890";

describe("deciding", () => {
  it("answers at once when the key is in memory", () => {
    const verdict = decide(head("GET", "/apis/api_1"), context({ record: record({}) }), noBody);
    expect(verdict).not.toBeInstanceOf(Promise);
    expect(verdict).toMatchObject({ kind: "admit", label: "allowed" });
  });

  it("refuses a path that no route takes, without looking at the key", () => {
    const source = sourceOf(() => {
      throw new Error("no key was to be looked up");
    });
    expect(now(decide(head("GET", "/nothing"), context({ source }), noBody))).toMatchObject({
      kind: "refuse",
      label: null,
      fault: { code: "sentinel:routing:route_not_found" },
    });
  });

  it.each(["/nothing%2Felse", "/nothing;else"])(
    "refuses %s as it is, where there is no route to allow it",
    (target) => {
      expect(now(decide(head("GET", target), context({}), noBody))).toMatchObject({
        label: null,
        fault: { code: "user:bad_request:ambiguous_path" },
      });
    },
  );

  it("never looks a malformed key up", () => {
    const source = sourceOf(() => {
      throw new Error("no key was to be looked up");
    });
    for (const authorization of ["bearer unkey_1", "Bearer  unkey_1", "Basic eA==", "Bearer sk_1", "Bearer unkey_"]) {
      const verdict = now(decide(head("GET", "/apis/a", { authorization }), context({ source }), noBody));
      expect(verdict).toMatchObject({ label: "malformed", fault: { code: "unkey:authentication:malformed" } });
    }
  });

  it.each([
    ["no such key", null, "key_not_found", "unkey:authentication:key_not_found"],
    ["an expired key", record({ expiresAt: NOW - 1 }), "key_expired", "unkey:authentication:key_not_found"],
    [
      "a key at the very instant it expires",
      record({ expiresAt: NOW }),
      "key_expired",
      "unkey:authentication:key_not_found",
    ],
    ["a disabled key", record({ enabled: false }), "key_disabled", "unkey:authorization:key_disabled"],
    [
      "a disabled workspace",
      record({ workspaceEnabled: false }),
      "workspace_disabled",
      "unkey:authorization:workspace_disabled",
    ],
    [
      "an expired key that is also disabled",
      record({ expiresAt: 1, enabled: false }),
      "key_expired",
      "unkey:authentication:key_not_found",
    ],
    [
      "a key without the permission",
      record({ permissions: ["api.other.read_api"] }),
      "insufficient_permissions",
      "unkey:authorization:insufficient_permissions",
    ],
  ])("refuses %s", (_what, given, label, code) => {
    const verdict = now(decide(head("GET", "/apis/api_1"), context({ record: given }), noBody));
    expect(verdict).toMatchObject({ kind: "refuse", label, fault: { code } });
  });

  it("knows whose key it refused", () => {
    const verdict = now(decide(head("GET", "/apis/api_1"), context({ record: record({ enabled: false }) }), noBody));
    expect(verdict.record?.id).toBe("key_test");
  });

  it.each([
    [
      "throws",
      sourceOf(() => {
        throw new SourceUnavailable("down");
      }),
    ],
    ["rejects", sourceOf(() => Promise.reject(new SourceUnavailable("down")))],
  ])("answers 503 and never 401 when the source %s that it can not tell", async (_how, source) => {
    const verdict = await decide(head("GET", "/apis/api_1"), context({ source }), noBody);
    expect(verdict).toMatchObject({
      label: "source_unavailable",
      fault: { code: "unkey:application:service_unavailable", retryAfterSeconds: 1 },
    });
  });

  it("lets a defect of the source through as a defect, not as an outage", async () => {
    const source = sourceOf(() => Promise.reject(new TypeError("a defect")));
    await expect(decide(head("GET", "/apis/api_1"), context({ source }), noBody)).rejects.toThrow(TypeError);
  });

  it("evaluates permissions anew on each request, from the record", () => {
    let granted = record({});
    const source = sourceOf(() => lookup(granted));
    expect(now(decide(head("GET", "/apis/api_1"), context({ source }), noBody)).kind).toBe("admit");
    granted = record({ permissions: [] });
    expect(now(decide(head("GET", "/apis/api_1"), context({ source }), noBody)).kind).toBe("refuse");
  });

  it("lets anyone pass an open route, with any Authorization, once", () => {
    for (const authorization of [null, "Bearer nonsense", "Basic eA=="]) {
      const verdict = now(decide(head("GET", "/health", { authorization }), context({}), noBody));
      expect(verdict).toMatchObject({ kind: "admit", label: "open", record: null });
    }
    const doubled = readHead(
      "GET",
      "/health",
      "1.1",
      ["Host", "a", "Authorization", "x", "authorization", "y"],
      LIMITS,
    );
    if (isFault(doubled)) throw new Error(doubled.detail);
    expect(now(decide(doubled, context({}), noBody))).toMatchObject({
      fault: { code: "user:bad_request:invalid_request" },
    });
  });

  it("reads a body only once the key was found good", async () => {
    const unread: ReadBody = () => {
      throw new Error("the body was not to be read");
    };
    const request = creation();
    expect(now(decide(request, context({ record: null }), unread)).kind).toBe("refuse");

    const body = Buffer.from('{"apiId":"api_123"}');
    const verdict = await decide(
      request,
      context({ record: record({ permissions: ["api.api_123.create_key"] }) }),
      async () => body,
    );
    expect(verdict).toMatchObject({
      kind: "admit",
      body,
      evidence: { filled: [{ value: "api_123" }] },
    });
  });

  it.each<[string, Lookup | null, number, string, string]>([
    ["was revoked", lookup(null), 0, "key_not_found", "unkey:authentication:key_not_found"],
    ["was disabled", lookup(record({ enabled: false })), 0, "key_disabled", "unkey:authorization:key_disabled"],
    ["expired", null, 1000, "key_expired", "unkey:authentication:key_not_found"],
    [
      "lost the permission",
      lookup(record({ permissions: [] })),
      0,
      "insufficient_permissions",
      "unkey:authorization:insufficient_permissions",
    ],
  ])("refuses a key that %s while the body was on its way", async (_what, found, laterMs, label, code) => {
    const good = lookup(record({ permissions: ["api.*.create_key"], expiresAt: NOW + 1000 }));
    let current: Lookup = good;
    const source = sourceOf(() => current);
    let wall = NOW;
    const readBody: ReadBody = async () => {
      current = found ?? good;
      wall += laterMs;
      return Buffer.from('{"apiId":"api_123"}');
    };
    const verdict = await decide(creation(), { ...context({ source }), now: () => wall }, readBody);
    expect(verdict).toMatchObject({ kind: "refuse", label, fault: { code } });
  });

  it("answers 503 where nobody can tell any more about the key once its body has come", async () => {
    const answers = [lookup(record({ permissions: ["api.*.create_key"] }))];
    const source = sourceOf(() => answers.shift() ?? Promise.reject(new SourceUnavailable("down")));
    const verdict = await decide(creation(), context({ source }), async () => Buffer.from('{"apiId":"api_123"}'));
    expect(verdict).toMatchObject({ label: "source_unavailable" });
  });

  it("says of a key with a body where it was found first", async () => {
    const found = lookup(record({ permissions: ["api.*.create_key"] }));
    const answers: Lookup[] = [{ ...found, tier: "redis" }];
    const source = sourceOf(() => answers.shift() ?? found);
    const verdict = await decide(creation(), context({ source }), async () => Buffer.from('{"apiId":"api_123"}'));
    expect(verdict).toMatchObject({ kind: "admit", evidence: { lookup: { tier: "redis" } } });
  });

  it("refuses an id that is none even where another alternative would do", async () => {
    const request = creation();
    const verdict = await decide(
      request,
      context({ record: record({ permissions: ["api.*.create_key"] }) }),
      async () => Buffer.from('{"apiId":"*"}'),
    );
    expect(verdict).toMatchObject({
      label: "invalid_resource_id",
      fault: { code: "user:bad_request:invalid_resource_id" },
    });
  });

  it("answers what reading the body ended in", async () => {
    const request = creation();
    const tooLarge = {
      kind: "fault",
      code: "user:bad_request:request_body_too_large",
      detail: "",
      errors: [],
    } as const;
    const verdict = await decide(request, context({ record: record({}) }), async () => tooLarge);
    expect(verdict).toMatchObject({ kind: "refuse", label: null, fault: tooLarge, record: { id: "key_test" } });
  });

  it("counts a body that can not be read as no verdict on the key", async () => {
    const verdict = await decide(creation(), context({ record: record({}) }), async () => Buffer.from("{"));
    expect(verdict).toMatchObject({
      kind: "refuse",
      label: null,
      fault: { code: "user:bad_request:invalid_body" },
      record: { id: "key_test" },
    });
  });

  it.each<[string, readonly string[], string]>([
    ["refuses one that is", ["Content-Encoding", "gzip"], "refuse"],
    [
      "refuses one that is said to be twice",
      ["Content-Encoding", "identity", "Content-Encoding", "identity"],
      "refuse",
    ],
    ["takes one that is said not to be", ["Content-Encoding", "Identity"], "admit"],
  ])("reads an id of no coded body: %s", async (_what, extra, kind) => {
    const request = head("POST", "/keys", { extra: ["Content-Type", "application/json", ...extra] });
    const granted = record({ permissions: ["api.*.create_key"] });
    const verdict = await decide(request, context({ record: granted }), async () => Buffer.from('{"apiId":"a"}'));
    expect(verdict.kind).toBe(kind);
  });

  it.each<[string, string, readonly string[], string]>([
    ["it is said to be no JSON", "/keys", ["Content-Type", "text/plain"], "invalid_body"],
    ["it is not said what it is", "/keys", [], "invalid_body"],
    ["it is coded", "/keys", ["Content-Type", "application/json", "Content-Encoding", "gzip"], "invalid_body"],
    ["another id is none", "/apis/a.b/copies", ["Content-Type", "application/json"], "invalid_resource_id"],
  ])("asks for no body that is refused whatever it holds: %s", (_why, path, extra, code) => {
    const request = head("POST", path, { extra: ["Content-Length", "19", ...extra] });
    const granted = record({ permissions: ["api.*.create_key"] });
    expect(now(decide(request, context({ record: granted }), noBody))).toMatchObject({
      label: code === "invalid_resource_id" ? code : null,
      fault: { code: `user:bad_request:${code}` },
      record: { id: "key_test" },
    });
  });

  it.each([
    ["is named in Connection, and so would not reach the upstream", ["X-Tenant", "t1", "Connection", "x-tenant"]],
    ["comes a second time, spelt with an underscore", ["X-Tenant", "t1", "X_Tenant", "t2"]],
    ["comes spelt with an underscore alone", ["X_Tenant", "t1"]],
  ])("does not take an id from a field that %s", (_why, extra) => {
    const verdict = now(
      decide(
        head("GET", "/tenant", { extra }),
        context({ record: record({ permissions: ["api.t1.read_api"] }) }),
        noBody,
      ),
    );
    expect(verdict).toMatchObject({ label: "invalid_resource_id" });
  });

  it("takes an id from a field that is there once", () => {
    const request = head("GET", "/tenant", { extra: ["x-TENANT", "t1"] });
    expect(now(decide(request, context({ record: record({ permissions: ["api.t1.read_api"] }) }), noBody)).kind).toBe(
      "admit",
    );
  });

  it("names the methods that a path allows", () => {
    expect(now(decide(head("PUT", "/health"), context({}), noBody))).toMatchObject({
      fault: { code: "sentinel:routing:method_not_allowed", allow: ["GET", "HEAD"] },
    });
  });
});

const LIMITS = { headerLines: 100, headerBytes: 16_384, targetBytes: 8192, viaToken: "test" };

const noBody: ReadBody = () => Promise.reject(new Error("no body was to be read"));

function now(verdict: Verdict | Promise<Verdict>): Verdict {
  if (verdict instanceof Promise) throw new Error("the verdict was to be there at once");
  return verdict;
}

function head(
  method: string,
  target: string,
  given: { authorization?: string | null; extra?: readonly string[] } = {},
) {
  const authorization = given.authorization === undefined ? `Bearer ${SECRET}` : given.authorization;
  const fields = authorization === null ? [] : ["Authorization", authorization];
  const read = readHead(method, target, "1.1", ["Host", "api.test", ...fields, ...(given.extra ?? [])], LIMITS);
  if (isFault(read)) throw new Error(read.detail);
  return read;
}

/** Its key is asked for `api.*.create_key` or for the id that its JSON body names. */
function creation() {
  return head("POST", "/keys", { extra: ["Content-Type", "application/json", "Content-Length", "19"] });
}

function context(given: { record?: KeyRecord | null; source?: KeySource }): DecideContext {
  const source = given.source ?? sourceOf((hash) => lookup(hash === hashKey(SECRET) ? (given.record ?? null) : null));
  return { table: TABLE, keys: source, keyPrefix: "unkey_", now: () => NOW };
}

function sourceOf(find: KeySource["find"]): KeySource {
  return { find, readiness: () => ({ ready: true, reason: "" }), close: async () => {} };
}

function lookup(found: KeyRecord | null): Lookup {
  return { record: found, asOf: NOW, tier: "file" };
}

function record(given: Partial<KeyRecord>): KeyRecord {
  const permissions = given.permissions ?? ["api.api_1.read_api"];
  return recordOf(SECRET, { id: "key_test", permissions, grants: grantsOf(permissions), ...given });
}

function route(name: string, index: number, methods: readonly string[], path: string, access: Access): Route {
  const pattern = parsePathPattern(path, "whole");
  if ("message" in pattern) throw new Error(pattern.message);
  return {
    name,
    index,
    match: { host: { kind: "any" }, methods, path: pattern, headers: [] },
    access,
    upstream: "echo",
    rewrite: null,
    preserveHost: true,
    authorization: "preserve",
    websocket: false,
    timeouts: { connectMs: null, responseMs: null, idleMs: null },
    maxBodyBytes: 1024,
    allowEncodedSlash: false,
    allowSemicolon: false,
    allowOverlap: false,
  };
}

function requires(text: string): Access {
  const parsed = parseQuery(text);
  if (isQueryProblem(parsed)) throw new Error(parsed.message);
  return { kind: "rootKey", requires: parsed };
}

const TABLE = compileRouteTable([
  route("read", 0, ["GET"], "/apis/{apiId}", requires("api.{path.apiId}.read_api")),
  route("create", 1, ["POST"], "/keys", requires("api.*.create_key OR api.{body.apiId}.create_key")),
  route(
    "copy",
    4,
    ["POST"],
    "/apis/{apiId}/copies",
    requires("api.{body.apiId}.create_key AND api.{path.apiId}.create_key"),
  ),
  route("tenant", 3, ["GET"], "/tenant", requires("api.{header.x-tenant}.read_api")),
  route("health", 2, ["GET"], "/health", { kind: "open" }),
]);
