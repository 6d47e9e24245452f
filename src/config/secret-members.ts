import type * as z from "zod";
import { configSchema, secretSchema } from "./schema.ts";
import { at, itemsOf, membersOf, schemaAt, unwrap } from "./schema-walk.ts";
import type { Path } from "./yaml-tree.ts";

/**
 * Whether what stands at `path` may be a secret, and so is never shown. Text in place of a whole mapping of secrets counts
 * (`redis: redis://user:password@host`): it is most likely one of them.
 */
export function isSecretMember(path: Path): boolean {
  return mayHoldSecret(path) || holdsSecrets(schemaAt(configSchema, path, undefined));
}

/**
 * Whether the member at `path` may hold a secret, by the schema. An unknown member beside secret ones counts: it is
 * most likely one of them, misspelt.
 */
function mayHoldSecret(path: Path): boolean {
  for (let length = path.length; length > 0; length--) {
    const found = schemaAt(configSchema, path.slice(0, length), undefined);
    // Whatever stands in a secret's place, but for the name of its file.
    if (found !== null && isSecret(found)) return length === path.length || path[length] !== "file";
  }
  if (schemaAt(configSchema, path, undefined) !== null) return false;
  return holdsSecrets(schemaAt(configSchema, path.slice(0, -1), undefined));
}

/** A mapping with members that are secrets. */
function holdsSecrets(schema: z.core.$ZodType | null): boolean {
  if (schema === null) return false;
  return [...(membersOf(schema)?.values() ?? []), itemsOf(schema)].some(
    (member) => member !== null && isSecret(member),
  );
}

/** A description makes a copy of a schema; what it is made of stays the same. */
function isSecret(schema: z.core.$ZodType): boolean {
  const { def } = (unwrap(schema) as z.core.$ZodTypes)._zod;
  return def.type === "union" && def.options === secretSchema._zod.def.options;
}

export interface SecretFile {
  /** Of the mapping `{ file: NAME }`. */
  readonly path: Path;
  readonly file: string;
}

/** Every `{ file: NAME }` that stands for a secret in a configuration that has not been checked yet. */
export function findSecretFiles(value: unknown, path: Path = []): SecretFile[] {
  if (typeof value !== "object" || value === null) return [];
  const file = at(value, "file");
  if (typeof file === "string" && file !== "" && mayHoldSecret(path)) return [{ path, file }];
  const parts = Array.isArray(value) ? value.map((_, i) => i) : Object.keys(value);
  return parts.flatMap((part) => findSecretFiles(at(value, part), [...path, part]));
}
