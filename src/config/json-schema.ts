import * as z from "zod";
import { configSchema } from "./schema.ts";

/** The configuration's JSON schema (draft-7), for editors: what is written, before defaults and environment. */
export function configJsonSchema(): Record<string, unknown> {
  const schema = writeJsonSchema((member) => allowPlaceholder(member));
  return { ...schema, title: "Sentinel configuration" };
}

/** The schema as it is written, with the examples of every member; `finish` may change each part. */
export function writeJsonSchema(finish: (part: Record<string, unknown>) => void): Record<string, unknown> {
  return z.toJSONSchema(configSchema, {
    target: "draft-7",
    io: "input",
    override: ({ zodSchema, jsonSchema }) => {
      // zod leaves out the examples of what it transforms, taking them for examples of the result.
      const examples = z.globalRegistry.get(zodSchema)?.examples;
      const part = jsonSchema as Record<string, unknown>;
      if (examples !== undefined) part.examples = examples;
      finish(part);
    },
  });
}

/** As `sentinel schema` prints it and `config/sentinel.schema.json` holds it. */
export function formatConfigJsonSchema(): string {
  return `${JSON.stringify(configJsonSchema(), null, 2)}\n`;
}

/** Where a value has a form, `${NAME}` is one more: an editor does not know the environment. */
function allowPlaceholder(schema: Record<string, unknown>): void {
  // What JavaScript can count to is no limit that anybody set.
  if (schema.maximum === Number.MAX_SAFE_INTEGER) delete schema.maximum;
  const { type, pattern, enum: values, const: only, description, default: fallback, examples, ...form } = schema;
  const isForm =
    ["number", "integer", "boolean"].includes(String(type)) ||
    [pattern, values, only].some((member) => member !== undefined);
  if (!isForm || Object.hasOwn(schema, "anyOf")) return;
  const own = { type, pattern, enum: values, const: only, ...form };
  for (const name of Object.keys(schema)) delete schema[name];
  Object.assign(schema, definedOnly({ description, default: fallback, examples }), {
    anyOf: [definedOnly(own), { type: "string", pattern: "\\$\\{" }],
  });
}

function definedOnly(members: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(members).filter(([, value]) => value !== undefined));
}
