import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  covers,
  createPermission,
  formatPermission,
  grantFor,
  grantProblem,
  type Permission,
  parsePermission,
} from "../../src/permissions/permission.ts";

const part = fc.stringMatching(/^[A-Za-z0-9_:/-]{1,12}$/);
const permission = fc.tuple(part, part, part).map(([type, id, action]) => createPermission(type, id, action));

describe("covers", () => {
  it.each([
    ["the exact grant", "api.api_1234.read_api", true],
    ["the grant for every id", "api.*.read_api", true],
    ["another id", "api.api_9.read_api", false],
    ["another action", "api.api_1234.update_api", false],
    ["another type", "ratelimit.api_1234.read_api", false],
    ["every action", "api.api_1234.*", false],
    ["every id and action", "api.*.*", false],
    ["every type", "*.api_1234.read_api", false],
    ["a lone star", "*", false],
    ["three stars", "*.*.*", false],
    ["a piece of an id", "api.api_12*.read_api", false],
    ["another case", "api.api_1234.READ_API", false],
    ["a longer tuple", "api.api_1234.read_api.x", false],
    ["a shorter tuple", "api.api_1234", false],
    ["white space around it", " api.api_1234.read_api", false],
  ])("%s: %s is %s for api.api_1234.read_api", (_, grant, expected) => {
    const wanted = createPermission("api", "api_1234", "read_api");
    expect(covers(new Set([grant]), wanted)).toBe(expected);
    expect(grantFor(new Set([grant]), wanted)).toBe(expected ? grant : null);
  });

  it("takes a wanted `*` to mean all: no set of concrete ids satisfies it", () => {
    const all = createPermission("ratelimit", "*", "create_namespace");
    expect(covers(new Set(["ratelimit.rlns_1.create_namespace", "ratelimit.rlns_2.create_namespace"]), all)).toBe(
      false,
    );
    expect(covers(new Set(["ratelimit.*.create_namespace"]), all)).toBe(true);
  });

  it("is satisfied by the exact grant and by `type.*.action`, and by nothing else", () => {
    const text = fc.oneof(
      fc.string(),
      permission.map(formatPermission),
      fc.array(fc.constantFrom("api", "*", "api_1", ".", "read", "x"), { maxLength: 6 }).map((parts) => parts.join("")),
    );
    fc.assert(
      fc.property(permission, fc.array(text), (wanted, others) => {
        const { tuple, wildcard } = wanted;
        expect(covers(new Set([...others, tuple]), wanted)).toBe(true);
        expect(covers(new Set([...others, wildcard]), wanted)).toBe(true);
        expect(covers(new Set(others.filter((other) => other !== tuple && other !== wildcard)), wanted)).toBe(false);
      }),
    );
  });
});

describe("parsePermission", () => {
  it("reads back what formatPermission writes", () => {
    fc.assert(
      fc.property(permission, (wanted) => {
        expect(parsePermission(formatPermission(wanted))).toEqual(wanted);
        expect(parsePermission(wanted.wildcard)).toEqual(createPermission(wanted.resourceType, "*", wanted.action));
      }),
    );
  });

  it.each([
    ["api.api_1234.read_api"],
    ["api.*.read_api"],
    ["identity.user-1.read_identity"],
    ["api.api_0OIl0OIl.read_api"],
    ["documents.a:b/c.read"],
  ])("takes %s as a grant", (text) => {
    expect(grantProblem(text)).toBeNull();
  });

  it.each([
    ["", "exactly three parts", 0],
    ["*", "exactly three parts", 0],
    ["documents.*", "exactly three parts", 0],
    ["api.api_1.read.x", "exactly three parts", 0],
    ["api.*.*", "`*` can not be the action", 6],
    ["*.*.*", "`*` can not be the resource type", 0],
    ["*.api_1.read", "`*` can not be the resource type", 0],
    ["api.api_1*.x", "only for a whole resource id", 4],
    ["api.**.x", "only for a whole resource id", 4],
    ["api.api_1.rea*", "`*` can not be the action", 10],
    ["api..read", "the resource id is empty", 4],
    [".a.read", "the resource type is empty", 0],
    ["api.a.", "the action is empty", 6],
    ["api.a b.read", "may hold only letters", 4],
    ["api.é.read", "may hold only letters", 4],
    ["api.{path.id}.read", "exactly three parts", 0],
    [`api.${"a".repeat(600)}.read`, "at most 512 characters", 0],
  ])("refuses %s as a grant: %s", (text, problem, offset) => {
    expect(grantProblem(text)).toContain(problem);
    expect(parsePermission(text)).toEqual({ problem: expect.stringContaining(problem), offset });
  });

  it("lets through no grant that could satisfy nothing", () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), permission.map(formatPermission)), (text) => {
        const parsed = parsePermission(text);
        if ("problem" in parsed) return;
        const wanted: Permission = parsed;
        expect(covers(new Set([text]), wanted)).toBe(true);
      }),
    );
  });
});
