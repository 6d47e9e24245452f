import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import { describe, expect, it } from "vitest";

const SRC = resolve(import.meta.dirname, "../src");

/** Which parts of the house may import which: docs/architecture.md says why. A part that is not named may import none. */
const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  main: ["cli"],
  cli: [
    "sentinel",
    "assembly",
    "gateway",
    "config",
    "keys",
    "permissions",
    "routes",
    "faults",
    "forward",
    "telemetry",
    "admin",
  ],
  sentinel: ["assembly", "gateway", "inbound", "config", "admin", "telemetry", "forward", "keys", "routes", "faults"],
  gateway: ["inbound", "forward", "faults", "routes", "keys", "permissions"],
  inbound: ["gateway", "faults"],
  assembly: ["config", "keys", "forward", "routes", "faults"],
  admin: ["telemetry"],
  telemetry: ["gateway", "config", "forward", "keys", "faults", "routes"],
  forward: ["routes", "faults", "gateway", "keys", "names"],
  config: ["routes", "permissions", "faults", "keys", "files"],
  keys: ["permissions", "faults", "files", "names"],
  routes: ["permissions", "faults"],
  permissions: ["faults"],
  faults: [],
  files: [],
  names: [],
  octets: [],
  "one-piece": [],
  nearest: [],
};

/** What any part may import. */
const ANYBODYS: readonly string[] = ["octets", "one-piece", "nearest"];

/** Files at the top of src/ that are not the request itself. */
const TOP: Readonly<Record<string, string>> = {
  "main.ts": "main",
  "sentinel.ts": "sentinel",
  "workers.ts": "sentinel",
  "files.ts": "files",
  "name-lookups.ts": "names",
  "handed-connections.ts": "sentinel",
  "signs-of-life.ts": "sentinel",
  "octets.ts": "octets",
  "one-piece.ts": "one-piece",
  "nearest.ts": "nearest",
};

interface Import {
  readonly from: string;
  readonly to: string;
  readonly typeOnly: boolean;
}

describe("imports", () => {
  const imports = sourceFiles().flatMap(readImports);

  it("point the way the architecture says", () => {
    const wrong = imports.filter(({ from, to, typeOnly }) => !typeOnly && !mayImport(partOf(from), partOf(to)));
    expect(wrong.map(({ from, to }) => `${from} -> ${to}`)).toEqual([]);
  });

  it("of values make no circle", () => {
    expect(findCircle(imports.filter(({ typeOnly }) => !typeOnly))).toBeNull();
  });

  it("of libraries stay at the edges: the pure folders name none", () => {
    const pure = sourceFiles().filter((file) => /^(permissions|routes|faults)\/|^(octets|nearest)\.ts$/.test(file));
    expect(pure.length).toBeGreaterThan(5);
    const libraries = pure.flatMap((file) =>
      specifiers(file)
        .filter(({ name }) => !name.startsWith("."))
        .map(({ name }) => `${file} -> ${name}`),
    );
    expect(libraries).toEqual([]);
  });
});

function mayImport(from: string, to: string): boolean {
  return from === to || ANYBODYS.includes(to) || (MAY_IMPORT[from] ?? []).includes(to);
}

function partOf(file: string): string {
  const [first, ...rest] = file.split("/");
  if (rest.length > 0) return first as string;
  return TOP[file] ?? "gateway";
}

function sourceFiles(): string[] {
  return (readdirSync(SRC, { recursive: true }) as string[]).filter((file) => file.endsWith(".ts"));
}

function specifiers(file: string): { readonly name: string; readonly typeOnly: boolean }[] {
  const text = readFileSync(join(SRC, file), "utf8");
  return [...text.matchAll(/^(import|export)\s+(type\s)?([^;]*?)\sfrom\s+"([^"]+)";/gms)].map((match) => ({
    name: match[4] as string,
    typeOnly: match[2] !== undefined || isTypeList(match[3] as string),
  }));
}

/** `{ type A, type B }` imports no value. */
function isTypeList(clause: string): boolean {
  const names = /^\{(.*)\}$/s.exec(clause.trim())?.[1];
  if (names === undefined) return false;
  return names.split(",").every((name) => name.trim() === "" || name.trim().startsWith("type "));
}

function readImports(file: string): Import[] {
  return specifiers(file)
    .filter(({ name }) => name.startsWith("."))
    .map(({ name, typeOnly }) => ({ from: file, to: relative(SRC, resolve(SRC, dirname(file), name)), typeOnly }));
}

function findCircle(imports: readonly Import[]): string | null {
  const next = new Map<string, Import[]>();
  for (const edge of imports) next.set(edge.from, [...(next.get(edge.from) ?? []), edge]);
  const done = new Set<string>();
  const visit = (file: string, path: readonly string[]): string | null => {
    if (path.includes(file)) return [...path.slice(path.indexOf(file)), file].join(" -> ");
    if (done.has(file)) return null;
    for (const { to } of next.get(file) ?? []) {
      const circle = visit(to, [...path, file]);
      if (circle !== null) return circle;
    }
    done.add(file);
    return null;
  };
  for (const file of next.keys()) {
    const circle = visit(file, []);
    if (circle !== null) return circle;
  }
  return null;
}
