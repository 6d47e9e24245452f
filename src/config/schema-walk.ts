import type * as z from "zod";

/** The schema without what only says that a value may be absent: optional, default, prefault, and a transformed output. */
export function unwrap(schema: z.core.$ZodType): z.core.$ZodType {
  const { def } = (schema as z.core.$ZodTypes)._zod;
  switch (def.type) {
    case "optional":
    case "prefault":
    case "default":
    case "nullable":
    case "readonly":
      return unwrap(def.innerType);
    case "pipe":
      return unwrap(def.in);
    default:
      return schema;
  }
}

type Members = ReadonlyMap<string, z.core.$ZodType>;

// Asked for at every member of a file, and always the same.
const known = new WeakMap<z.core.$ZodType, Members | null>();

/** Members of a mapping schema; for a union those of each mapping among its options. Null where none is a mapping. */
export function membersOf(schema: z.core.$ZodType): Members | null {
  const before = known.get(schema);
  if (before !== undefined) return before;
  const members = readMembers(schema);
  known.set(schema, members);
  return members;
}

function readMembers(schema: z.core.$ZodType): Members | null {
  const { def } = (unwrap(schema) as z.core.$ZodTypes)._zod;
  if (def.type === "object") return new Map(Object.entries(def.shape));
  if (def.type !== "union") return null;
  const members = def.options.flatMap((option) => [...(membersOf(option) ?? [])]);
  return members.length === 0 ? null : new Map(members);
}

/** The schema of list items, or of a mapping's values where its names are free; null for others. */
export function itemsOf(schema: z.core.$ZodType): z.core.$ZodType | null {
  const { def } = (unwrap(schema) as z.core.$ZodTypes)._zod;
  if (def.type === "array") return def.element;
  return def.type === "record" ? def.valueType : null;
}

/** The schema at `path`; `value` is the whole input, which decides between the options of a union. Null: none there. */
export function schemaAt(
  schema: z.core.$ZodType,
  path: readonly PropertyKey[],
  value: unknown,
): z.core.$ZodType | null {
  const [first, ...rest] = path;
  if (first === undefined) return schema;
  const next = optionFor(schema, value);
  const child = typeof first === "string" ? (membersOf(next)?.get(first) ?? itemsOf(next)) : itemsOf(next);
  return child === null ? null : schemaAt(child, rest, at(value, first));
}

/** For a union that is told apart by a member, the option that the value chose; else the schema itself. */
export function optionFor(schema: z.core.$ZodType, value: unknown): z.core.$ZodType {
  const { def } = (unwrap(schema) as z.core.$ZodTypes)._zod;
  if (def.type !== "union" || !("discriminator" in def)) return schema;
  const name = String(def.discriminator);
  const chosen = at(value, name);
  return def.options.find((option) => literalOf(membersOf(option)?.get(name)) === chosen) ?? schema;
}

function literalOf(schema: z.core.$ZodType | undefined): unknown {
  if (schema === undefined) return undefined;
  const { def } = (unwrap(schema) as z.core.$ZodTypes)._zod;
  return def.type === "literal" ? def.values[0] : undefined;
}

/** The value's member or item, or undefined. */
export function at(value: unknown, part: PropertyKey): unknown {
  if (typeof value !== "object" || value === null || !Object.hasOwn(value, part)) return undefined;
  return (value as Record<PropertyKey, unknown>)[part];
}
