import { existsSync } from "node:fs";
import { dirname, isAbsolute, relative, resolve } from "node:path";
import type * as z from "zod";
import { type FileMarks, markRead, markUnreadable, readFile } from "../files.ts";
import { findFurtherProblems } from "./compile.ts";
import { salvageDraft } from "./draft.ts";
import type { Environment } from "./environment.ts";
import { describeIssues, valueAt } from "./issues.ts";
import { type Problem, sortProblems } from "./problem.ts";
import type { ProblemAt } from "./report.ts";
import { type Config, configSchema } from "./schema.ts";
import { findSecretFiles, isSecretMember } from "./secret-members.ts";
import { type Path, pathKey, readYamlTree, type YamlTree } from "./yaml-tree.ts";

export type LoadResult =
  | {
      readonly ok: true;
      readonly config: Config;
      /** Every file that was read or is named, the configuration itself first: what to watch. */
      readonly files: FileMarks;
      /** The keyring that the configuration names, absolute; null where keys do not come from a file. It is not read here. */
      readonly keyring: string | null;
      readonly problemAt: ProblemAt;
    }
  | {
      readonly ok: false;
      readonly problems: readonly Problem[];
      readonly files: FileMarks;
      readonly keyring: string | null;
    };

/**
 * Reads a configuration file: YAML, environment, schema, secrets. Every mistake at once, each at its place: those that
 * `compileConfig` would find, too, unless there are only those. Never rejects, whatever the file holds.
 */
export async function loadConfig(path: string, env: Environment): Promise<LoadResult> {
  const absolute = resolve(path);
  const folder = dirname(absolute);
  const files = new Map<string, string | null>();
  const read = await readText(absolute, files);
  if (!read.ok) {
    const message = `the configuration can not be read: ${read.reason}`;
    const problem = { file: displayName(absolute), line: 1, column: 1, message, sourceLine: "" };
    return { ok: false, problems: [problem], files, keyring: null };
  }
  const tree = readYamlTree(displayName(absolute), read.text, { env, isSecret: isSecretMember });
  if (!tree.readable) return { ok: false, problems: sortProblems(tree.problems), files, keyring: null };

  const secretProblems = await readSecrets(tree, folder, files);
  const keyring = findKeyring(tree, folder);
  if (keyring !== null) files.set(keyring, files.get(keyring) ?? null);
  const parsed = parseWithPlaceholders(configSchema, tree);
  const issues = parsed.success ? [] : parsed.error.issues;
  const context = { schema: configSchema, tree, isSecret: isSecretMember };
  const problems = [...tree.problems, ...secretProblems, ...describeIssues(issues, context)];
  const problemAt: ProblemAt = (at, message, offset) => tree.problemAt(at, message, offset);
  if (!parsed.success || problems.length > 0) {
    // Mistakes of two kinds are not to be found in two rounds.
    problems.push(...findFurtherProblems(salvageDraft(tree), problemAt));
    return { ok: false, problems: sortProblems(problems), files, keyring };
  }
  return { ok: true, config: withAbsoluteNames(parsed.data, folder), files, keyring, problemAt };
}

function findKeyring({ value, broken }: YamlTree, folder: string): string | null {
  const path = ["keys", "source", "path"];
  const name = valueAt(value, path);
  const isFile = valueAt(value, ["keys", "source", "type"]) === "file";
  return isFile && typeof name === "string" && name !== "" && !broken.has(pathKey(path)) ? resolve(folder, name) : null;
}

/** `-c FILE`, else `$SENTINEL_CONFIG`, else `config/sentinel.yaml`, else `sentinel.yaml`: absolute. */
export function resolveConfigPath(option: string | undefined, env: Environment, cwd: string): string {
  const named = option ?? (env.SENTINEL_CONFIG || undefined);
  if (named !== undefined) return resolve(cwd, named);
  const [usual, beside] = [resolve(cwd, "config/sentinel.yaml"), resolve(cwd, "sentinel.yaml")];
  return !existsSync(usual) && existsSync(beside) ? beside : usual;
}

/** The name that messages use: relative where the file is below the working directory. */
export function displayName(absolute: string): string {
  const name = relative(process.cwd(), absolute);
  return name === "" || name.startsWith("..") || isAbsolute(name) ? absolute : name;
}

/** A member that is one placeholder and should be a number or boolean is read as YAML reads the text it stands for. */
export function parseWithPlaceholders<Schema extends z.ZodType>(
  schema: Schema,
  tree: YamlTree,
): z.ZodSafeParseResult<z.output<Schema>> {
  const first = schema.safeParse(tree.value);
  if (first.success) return first;
  let changed = false;
  for (const issue of first.error.issues) {
    const path = issue.path as Path;
    const member = path.at(-1);
    if (member === undefined || !tree.placeholders.has(pathKey(path)) || !wantsNumberOrBoolean(issue)) continue;
    const value = asYaml(valueAt(tree.value, path));
    if (value === null) continue;
    (valueAt(tree.value, path.slice(0, -1)) as Record<PropertyKey, unknown>)[member] = value;
    changed = true;
  }
  return changed ? schema.safeParse(tree.value) : first;
}

function wantsNumberOrBoolean(issue: z.core.$ZodIssue): boolean {
  if (issue.code === "invalid_union") return issue.errors.some((option) => option.some(wantsNumberOrBoolean));
  return issue.code === "invalid_type" && ["number", "int", "boolean"].includes(issue.expected);
}

function asYaml(text: unknown): number | boolean | null {
  if (typeof text !== "string") return null;
  if (/^(true|True|TRUE)$/.test(text)) return true;
  if (/^(false|False|FALSE)$/.test(text)) return false;
  return /^[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?$/.test(text) ? Number(text) : null;
}

/** Puts the text of each secret's file in its place in the tree. What can not be read is a problem at its name. */
async function readSecrets(tree: YamlTree, folder: string, files: Map<string, string | null>): Promise<Problem[]> {
  const problems: Problem[] = [];
  for (const { path, file } of findSecretFiles(tree.value)) {
    if (tree.broken.has(pathKey([...path, "file"]))) continue;
    const absolute = resolve(folder, file);
    const read = await readText(absolute, files);
    const holder = valueAt(tree.value, path.slice(0, -1)) as Record<PropertyKey, unknown>;
    const member = path.at(-1);
    const reason = !read.ok ? `can not be read: ${read.reason}` : read.text.trim() === "" ? "is empty" : null;
    if (reason !== null || !read.ok) {
      problems.push(tree.problemAt([...path, "file"], `${absolute} ${reason}`));
      tree.broken.add(pathKey(path));
    } else if (member !== undefined) holder[member] = read.text.replace(/\r?\n$/, "");
  }
  return problems;
}

type ReadText = { readonly ok: true; readonly text: string } | { readonly ok: false; readonly reason: string };

/** Larger than any configuration; read whole, it is held in memory. */
const FILE_BYTES_MAX = 4 * 1024 ** 2;

/** Adds to `files` what was read. Of a file that is read twice the first counts: what changes in between is a change. */
async function readText(absolute: string, files: Map<string, string | null>): Promise<ReadText> {
  let bytes: Buffer;
  try {
    bytes = await readFile(absolute);
    files.set(absolute, files.get(absolute) ?? markRead(bytes));
  } catch (error) {
    files.set(absolute, files.get(absolute) ?? markUnreadable(error));
    return { ok: false, reason: unreadableReason(error) };
  }
  if (bytes.length > FILE_BYTES_MAX) return { ok: false, reason: "it is larger than 4MiB" };
  try {
    return { ok: true, text: new TextDecoder("utf-8", { fatal: true }).decode(bytes) };
  } catch {
    // The decoder throws for this one reason, and the operator is told.
    return { ok: false, reason: "it is not UTF-8 text" };
  }
}

/** Why a file can not be read, in words. */
export function unreadableReason(error: unknown): string {
  return REASONS[(error as NodeJS.ErrnoException).code ?? ""] ?? String((error as Error).message);
}

const REASONS: Readonly<Record<string, string>> = {
  ENOENT: "there is no such file",
  EACCES: "permission denied",
  EPERM: "permission denied",
  EISDIR: "it is a folder",
  ENOTDIR: "a part of its path is not a folder",
  ELOOP: "its links lead in a circle",
  ERR_INVALID_ARG_VALUE: "its name is not a file name",
};

function withAbsoluteNames(config: Config, folder: string): Config {
  const { admin, keys } = config;
  const source =
    keys.source.type === "file" ? { ...keys.source, path: resolve(folder, keys.source.path) } : keys.source;
  const listen = admin.listen.startsWith("unix:")
    ? `unix:${resolve(folder, admin.listen.slice("unix:".length))}`
    : admin.listen;
  return { ...config, admin: { ...admin, listen }, keys: { ...keys, source } };
}
