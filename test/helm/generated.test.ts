import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { describe, expect, it } from "vitest";
import { parse } from "yaml";
import { formatChartReadme } from "../../helm/chart-readme.ts";
import { readValuesComments } from "../../helm/values-comments.ts";
import { formatValuesSchema } from "../../helm/values-schema.ts";

const CHART = resolve("helm/sentinel");
const valuesYaml = readFileSync(resolve(CHART, "values.yaml"), "utf8");

describe("files of the chart made from its values are what they make now (npm run generate)", () => {
  it("values.schema.json", async () => {
    await expect(formatValuesSchema(valuesYaml)).toMatchFileSnapshot(resolve(CHART, "values.schema.json"));
  });

  it("README.md", async () => {
    await expect(formatChartReadme(valuesYaml)).toMatchFileSnapshot(resolve(CHART, "README.md"));
  });
});

it("every value is documented, itself or with the whole it belongs to", () => {
  const documented = new Set(readValuesComments(valuesYaml).map(({ name }) => name));
  const bare: string[] = [];
  const visit = (value: unknown, path: readonly string[]): void => {
    if (documented.has(path.join("."))) return;
    const members = typeof value === "object" && value !== null ? Object.entries(value) : [];
    if (members.length === 0) bare.push(path.join("."));
    for (const [name, member] of members) visit(member, [...path, name]);
  };
  visit(parse(valuesYaml), []);
  expect(bare).toEqual([]);
});

it("every object that is the chart's own is closed to unknown members", () => {
  const schema = JSON.parse(readFileSync(resolve(CHART, "values.schema.json"), "utf8")) as unknown;
  const open: string[] = [];
  const visit = (part: unknown, path: string): void => {
    if (typeof part !== "object" || part === null) return;
    const { properties, additionalProperties } = part as Record<string, unknown>;
    if (properties !== undefined && additionalProperties !== false) open.push(path);
    for (const [name, member] of Object.entries(part)) visit(member, `${path}/${name}`);
  };
  visit(schema, "");
  expect(open).toEqual([]);
});
