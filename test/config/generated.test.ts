import { resolve } from "node:path";
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
