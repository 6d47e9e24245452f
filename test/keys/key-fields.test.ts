import { describe, expect, it } from "vitest";
import { CLEARABLE_MEMBERS, checkKeyFields, NO_FIELDS } from "../../src/keys/key-fields.ts";
import { type KeyFields, KeyStoreRefusal } from "../../src/keys/source.ts";

const NOW = Date.UTC(2027, 0, 1);

describe("checkKeyFields", () => {
  it("gives each value once and leaves absent members absent", () => {
    expect(checkKeyFields({ permissions: ["a.1.r", "a.1.r"], roles: ["x", "x"] }, [], NOW)).toEqual({
      permissions: ["a.1.r"],
      roles: ["x"],
    });
    expect(checkKeyFields({}, [], NOW)).toEqual({});
    expect(checkKeyFields(NO_FIELDS, [], NOW)).toEqual(NO_FIELDS);
  });

  it("empties what is to be cleared", () => {
    expect(checkKeyFields({}, CLEARABLE_MEMBERS, NOW)).toEqual(NO_FIELDS);
    expect(checkKeyFields({ name: "n" }, ["expires"], NOW)).toEqual({ name: "n", expiresAt: null });
  });

  it.each<[string, Partial<KeyFields>, string]>([
    ["a lone star", { permissions: ["*"] }, "permission '*' would satisfy nothing"],
    ["every action", { permissions: ["a.1.r", "api.*.*"] }, "permission 'api.*.*' would satisfy nothing"],
    ["a piece of an id", { permissions: ["api.api_1*.x"] }, "never for a piece of one"],
    ["an expiry now", { expiresAt: NOW }, "not in the future"],
    ["an expiry in the past", { expiresAt: NOW - 1 }, "not in the future"],
    ["an expiry that is no number", { expiresAt: Number.NaN }, "not in the future"],
    ["an empty name", { name: "" }, "the name must be"],
    ["a name with a line end", { name: "a\nb" }, "the name must be"],
    ["an endless external id", { externalId: "x".repeat(256) }, "the external id must be"],
    ["an empty workspace", { workspaceId: "" }, "the workspace must be"],
    ["an empty role", { roles: [""] }, "a role's name is empty"],
  ])("refuses %s", (_, fields, message) => {
    expect(() => checkKeyFields(fields, [], NOW)).toThrow(KeyStoreRefusal);
    expect(() => checkKeyFields(fields, [], NOW)).toThrow(message);
  });

  it("refuses a member that is both given and cleared", () => {
    expect(() => checkKeyFields({ externalId: "x" }, ["external-id"], NOW)).toThrow(
      "external-id is both given and cleared",
    );
  });
});
