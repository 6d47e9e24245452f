import { resolve } from "node:path";
import { isDeepStrictEqual } from "node:util";
import { describe, expect, test } from "vitest";
import { formatConfigReference } from "../../src/config/config-reference.ts";
import { configJsonSchema, formatConfigJsonSchema } from "../../src/config/json-schema.ts";
import { formatErrorsReference } from "../../src/faults/errors-reference.ts";

describe("files made from the source are what it makes now (npm run generate)", () => {
  test.each([
    ["config/sentinel.schema.json", formatConfigJsonSchema],
    ["docs/configuration.md", formatConfigReference],
    ["docs/errors.md", formatErrorsReference],
  ])("%s", async (file, format) => {
    await expect(format()).toMatchFileSnapshot(resolve(file));
  });
});

test("every member of the schema has a description", () => {
  const bare: string[] = [];
  const visit = (path: string, schema: unknown): void => {
    if (typeof schema !== "object" || schema === null) return;
    const { properties, ...rest } = schema as { properties?: Record<string, { description?: string }> };
    for (const [name, member] of Object.entries(properties ?? {})) {
      if (member.description === undefined) bare.push(`${path}.${name}`);
      visit(`${path}.${name}`, member);
    }
    for (const part of Object.values(rest)) visit(path, part);
  };
  visit("", configJsonSchema());
  expect(bare).toEqual([]);
});

test("the schema takes ${NAME} wherever a value has a form, as the program does", () => {
  const placeholder = { type: "string", pattern: "\\$\\{" };
  const bare: string[] = [];
  const visit = (path: string, schema: unknown, others: readonly unknown[]): void => {
    if (typeof schema !== "object" || schema === null) return;
    const { type, pattern, enum: values, const: only } = schema as Record<string, unknown>;
    const hasForm = ["number", "integer", "boolean"].includes(String(type)) || pattern || values || only !== undefined;
    if (hasForm && !others.some((other) => isDeepStrictEqual(other, placeholder))) bare.push(path);
    for (const [name, part] of Object.entries(schema)) {
      // What stands there is no schema, but values of one.
      if (name === "default" || name === "examples") continue;
      visit(`${path}.${name}`, part, Array.isArray(schema) ? schema : []);
    }
  };
  visit("", configJsonSchema(), []);
  expect(bare).toEqual([]);
});
