import type { Command } from "commander";
import { formatHostPattern } from "../routes/host.ts";
import { formatPathPattern } from "../routes/pattern.ts";
import type { Route } from "../routes/route.ts";
import { type CommandIo, EXIT, type ExitStatus } from "./exit.ts";
import { invalidFiles } from "./invalid-files.ts";
import { CONFIG_OPTION } from "./options.ts";

interface RoutesOptions {
  readonly config?: string;
  readonly json?: boolean;
}

/** `sentinel routes`: the routes in matching order, and a warning for each that is open or never matches. */
export function addRoutesCommand(program: Command, io: CommandIo, finish: (status: ExitStatus) => void): void {
  program
    .command("routes")
    .description("list the routes in matching order, and warn of those that are open or never match")
    .option(...CONFIG_OPTION)
    .option("--json", "print the routes as JSON")
    .action(async (options: RoutesOptions) => {
      const { compileConfig } = await import("../config/compile.ts");
      const { loadConfig, resolveConfigPath } = await import("../config/load.ts");
      const { formatProblems } = await import("../config/problem.ts");
      const loaded = await loadConfig(resolveConfigPath(options.config, io.env, io.cwd), io.env);
      const compiled = loaded.ok ? compileConfig(loaded.config, loaded.problemAt) : loaded;
      if (!compiled.ok) throw invalidFiles(compiled.problems, io);
      const { routes } = compiled.table;
      io.out(options.json ? `${JSON.stringify(routes.map(describeRoute), null, 2)}\n` : formatRoutes(routes));
      for (const route of routes) if (route.access.kind === "open") io.err(`${openWarning(route)}\n`);
      if (compiled.warnings.length > 0) io.err(formatProblems(compiled.warnings, { colour: io.colour }));
      finish(EXIT.done);
    });
}

/** A route as `--json` gives it; null stands for "any". */
export interface DescribedRoute {
  readonly name: string;
  readonly host: string | null;
  readonly path: string | null;
  readonly pathPrefix: string | null;
  readonly methods: readonly string[] | null;
  readonly headers: Readonly<Record<string, string>>;
  readonly auth: "root key" | "none";
  /** Null: any valid key, or none. */
  readonly permissions: string | null;
  readonly upstream: string;
}

export function describeRoute({ name, match, access, upstream }: Route): DescribedRoute {
  return {
    name,
    host: match.host.kind === "any" ? null : formatHostPattern(match.host),
    path: match.path.kind === "whole" ? match.path.text : null,
    pathPrefix: match.path.kind === "prefix" ? match.path.text : null,
    methods: match.methods,
    headers: Object.fromEntries(match.headers),
    auth: access.kind === "open" ? "none" : "root key",
    permissions: access.kind === "open" ? null : (access.requires?.text ?? null),
    upstream,
  };
}

/** A table: a line a route, columns as wide as they have to be. */
export function formatRoutes(routes: readonly Route[]): string {
  const header = ["ROUTE", "HOST", "PATH", "METHODS", "REQUIRES", "UPSTREAM"];
  const rows = routes.map((route) => {
    const { name, host, methods, headers, auth, permissions, upstream } = describeRoute(route);
    const fields = Object.entries(headers).map(([field, value]) => ` ${field}=${value}`);
    return [
      name,
      host ?? "*",
      `${formatPathPattern(route.match.path)}${fields.join("")}`,
      methods?.join(",") ?? "*",
      auth === "none" ? "nothing (open)" : (permissions?.replaceAll(/\s+/g, " ") ?? "any valid key"),
      upstream,
    ];
  });
  const widths = header.map((_, column) => Math.max(...[header, ...rows].map((row) => row[column]?.length ?? 0)));
  const line = (row: readonly string[]) =>
    row
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join("  ")
      .trimEnd();
  return `${[header, ...rows].map(line).join("\n")}\n`;
}

function openWarning({ name, upstream }: Route): string {
  return `warning: the route "${name}" is open to anyone: it asks for no key and leads to the upstream "${upstream}"`;
}
