import type * as z from "zod";
import {
  type Config,
  configSchema,
  type RouteConfig,
  routeSchema,
  type UpstreamConfig,
  upstreamSchema,
} from "./schema.ts";
import { at } from "./schema-walk.ts";
import { type Path, pathKey, type YamlTree } from "./yaml-tree.ts";

/**
 * A configuration that is checked further, whole or in part. Of one with mistakes it has what the schema found nothing
 * wrong with, so that all mistakes are reported at once.
 */
export interface Draft {
  readonly sections: Partial<Sections>;
  /** Sections that are there, but with mistakes: what they say is not known. */
  readonly unknown: ReadonlySet<string>;
  /** By place in the file. Null: not known at all, its name included. */
  readonly upstreams: readonly (DraftItem<UpstreamConfig> | null)[] | null;
  readonly routes: readonly (DraftItem<RouteConfig> | null)[];
}

export type Sections = Omit<Config, "upstreams" | "routes">;

export interface DraftItem<T> {
  readonly value: T;
  /** Members whose value here is made up, because the one in the file is wrong or missing. */
  readonly madeUp: ReadonlySet<string>;
}

/** A configuration without mistakes so far: everything is known. */
export function draftOf(config: Config): Draft {
  const { upstreams, routes, ...sections } = config;
  const known = <T>(value: T): DraftItem<T> => ({ value, madeUp: new Set() });
  return { sections, unknown: new Set(), upstreams: upstreams.map(known), routes: routes.map(known) };
}

/** What can be known of a configuration that the schema refused. */
export function salvageDraft(tree: YamlTree): Draft {
  const { upstreams: _, routes: __, ...shape } = configSchema.shape;
  const sections: Record<string, unknown> = {};
  const unknown = new Set<string>();
  for (const [name, schema] of Object.entries(shape)) {
    const parsed = schema.safeParse(at(tree.value, name));
    if (!parsed.success || isBroken(tree, [name])) unknown.add(name);
    else sections[name] = parsed.data;
  }
  const upstreams = at(tree.value, "upstreams");
  const routes = at(tree.value, "routes");
  return {
    sections: sections as Partial<Sections>,
    unknown,
    upstreams: Array.isArray(upstreams)
      ? upstreams.map((item, i) => salvageItem(upstreamSchema, item, ["upstreams", i], UPSTREAM_STAND_INS, tree))
      : null,
    routes: Array.isArray(routes)
      ? routes.map((item, i) =>
          salvageItem(routeSchema, item, ["routes", i], { name: `routes-${i}`, upstream: "x" }, tree),
        )
      : [],
  };
}

const UPSTREAM_STAND_INS = { name: "x", targets: ["http://127.0.0.1:1"] };

/** The item with its refused members left out, or stand-ins in their place where they are required. */
function salvageItem<Schema extends z.ZodType>(
  schema: Schema,
  item: unknown,
  path: Path,
  standIns: Readonly<Record<string, unknown>>,
  tree: YamlTree,
): DraftItem<z.output<Schema>> | null {
  if (typeof item !== "object" || item === null || Array.isArray(item)) return null;
  const value: Record<string, unknown> = { ...item };
  const madeUp = new Set<string>();
  const leaveOut = (name: string) => {
    madeUp.add(name);
    delete value[name];
    if (Object.hasOwn(standIns, name)) value[name] = standIns[name];
  };
  for (const name of Object.keys(value)) if (isBroken(tree, [...path, name])) leaveOut(name);
  // The second round finds what the first one's mistakes hid; then every member is right, absent or a stand-in.
  for (let round = 0; round < 3; round++) {
    const parsed = schema.safeParse(value);
    if (parsed.success) return { value: parsed.data, madeUp };
    for (const issue of parsed.error.issues) {
      if (issue.code === "unrecognized_keys" && issue.path.length === 0) issue.keys.forEach(leaveOut);
      else leaveOut(String(issue.path[0]));
    }
  }
  return null;
}

/** A value at or below `path` is not known. */
function isBroken(tree: YamlTree, path: Path): boolean {
  const key = pathKey(path);
  return [...tree.broken].some((broken) => broken === key || broken.startsWith(`${key}\u0000`));
}
