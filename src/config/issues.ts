import type * as z from "zod";
import { didYouMean, formatList } from "./did-you-mean.ts";
import type { Problem } from "./problem.ts";
import { at, itemsOf, membersOf, optionFor, schemaAt } from "./schema-walk.ts";
import { type Path, pathKey, type YamlTree } from "./yaml-tree.ts";

type Issue = z.core.$ZodIssue;

export interface IssueContext {
  readonly schema: z.core.$ZodType;
  readonly tree: YamlTree;
  readonly isSecret: (path: Path) => boolean;
}

/** Each of zod's findings as a sentence at its place in the file; a union's, as what the value was closest to. */
export function describeIssues(issues: readonly Issue[], context: IssueContext): Problem[] {
  return flattenIssues(issues, context.tree.value)
    .filter((issue) => !isUnderBroken(issue.path as Path, context.tree))
    .flatMap((issue) => describeIssue(issue, context));
}

/**
 * Replaces each union's issue by those of the one option that the value has the shape of, so that a slip inside a
 * mapping is reported as that slip. Others stay.
 */
export function flattenIssues(issues: readonly Issue[], value: unknown): Issue[] {
  return issues.flatMap((issue) => {
    if (issue.code !== "invalid_union") return [issue];
    const close = (issue.errors as Issue[][]).filter((option) => !option.some(isWrongShape));
    if (close.length !== 1 || typeof valueAt(value, issue.path) !== "object") return [issue];
    const inner = (close[0] ?? []).map((found) => ({ ...found, path: [...issue.path, ...found.path] }) as Issue);
    return flattenIssues(inner, value);
  });
}

function isWrongShape(issue: Issue): boolean {
  return issue.path.length === 0 && (issue.code === "invalid_type" || issue.code === "invalid_value");
}

/** What a missing environment variable would have said is not known; its member is not judged any further. */
function isUnderBroken(path: Path, tree: YamlTree): boolean {
  return path.some((_, i) => tree.broken.has(pathKey(path.slice(0, i + 1))));
}

function describeIssue(issue: Issue, context: IssueContext): Problem[] {
  const { tree } = context;
  const path = issue.path as Path;
  if (issue.code === "unrecognized_keys") return issue.keys.map((name) => unknownMember([...path, name], context));
  if (issue.code === "invalid_key")
    return [tree.problemAtName(path, `the name of a member of ${label(path.slice(0, -1))} ${sentence(issue.issues)}`)];
  const value = valueAt(tree.value, path);
  if (value === undefined && path.length > 0) return [missingMember(path, context)];
  if (value === null) {
    const message = `${label(path)} has no value; leave the member out or give it one`;
    return [tree.problemAtName(path, message)];
  }
  return [tree.problemAt(path, `${label(path)} ${sentence([issue])}${butIs(issue, path, value, context)}`)];
}

function unknownMember(path: Path, { schema, tree }: IssueContext): Problem {
  const name = String(path.at(-1));
  const holder = path.slice(0, -1);
  const found = schemaAt(schema, holder, tree.value);
  const chosen = found === null ? null : optionFor(found, valueAt(tree.value, holder));
  const members = (chosen === null ? null : membersOf(chosen)) ?? new Map<string, z.core.$ZodType>();
  const where = holder.length === 0 ? "" : ` in ${label(holder)}`;
  const inside = memberInside(name, members);
  const known = members.size === 0 ? "" : `; known here: ${formatList([...members.keys()])}`;
  const right = inside === null ? didYouMean(name, members.keys(), known) : `; it belongs in "${inside}"`;
  return tree.problemAtName(path, `unknown member "${shorten(name)}"${where}${right}`);
}

/** The member that holds a member called `name`: `connect` belongs in `timeouts`. */
function memberInside(name: string, members: ReadonlyMap<string, z.core.$ZodType>): string | null {
  for (const [outer, member] of members) {
    if (itemsOf(member) === null && membersOf(member)?.has(name)) return outer;
  }
  return null;
}

function missingMember(path: Path, { schema, tree }: IssueContext): Problem {
  const holder = path.slice(0, -1);
  const where = holder.length === 0 ? "" : ` in ${label(holder)}`;
  const meaning = descriptionOf(schemaAt(schema, path, tree.value));
  return tree.problemAt(path, `member "${path.at(-1)}" is missing${where}${meaning === "" ? "" : `: ${meaning}`}`);
}

/** The first sentence of a member's description, as it stands. */
function descriptionOf(schema: z.core.$ZodType | null): string {
  const description = (schema as { description?: string } | null)?.description ?? "";
  return description.split(/(?<=\.)\s/)[0]?.replace(/\.$/, "") ?? "";
}

/** `must be ...`: what the issues (alternatives of one another) ask for. */
function sentence(issues: readonly Issue[]): string {
  const wants = [...new Set(issues.flatMap(expectations))];
  const own = wants.find((want) => !want.startsWith("be "));
  return `must ${
    own ??
    `be ${formatList(
      wants.map((want) => want.slice(3)),
      "or",
    )}`
  }`;
}

function expectations(issue: Issue): string[] {
  // The schema's own words come before anything made up from the kind of mistake.
  if (issue.message.startsWith("must ")) return [issue.message.slice("must ".length)];
  switch (issue.code) {
    case "invalid_type":
      return [`be ${TYPE_NAMES[issue.expected] ?? issue.expected}`];
    case "invalid_value":
      return [
        `be ${formatList(
          issue.values.map((value) => JSON.stringify(value)),
          "or",
        )}`,
      ];
    case "too_small":
      if (issue.origin === "array") return ["have at least one entry"];
      if (issue.origin === "string") return ["not be empty"];
      return [`be at least ${issue.minimum}`];
    case "too_big":
      return [issue.origin === "string" ? `have at most ${issue.maximum} characters` : `be at most ${issue.maximum}`];
    case "invalid_union":
      if (issue.errors.length > 0) return issue.errors.flatMap((option) => option.flatMap(expectations));
      return [
        `be ${formatList(
          ((issue as { options?: unknown[] }).options ?? []).map((option) => JSON.stringify(option)),
          "or",
        )}`,
      ];
    default:
      return [issue.message];
  }
}

const TYPE_NAMES: Readonly<Record<string, string>> = {
  string: "text",
  number: "a number",
  int: "a whole number",
  boolean: "true or false",
  object: "a mapping",
  record: "a mapping",
  array: "a list",
};

/** `, not ...`: what it is instead; a secret is never repeated. */
function butIs(issue: Issue, path: Path, value: unknown, { isSecret }: IssueContext): string {
  if (typeof value === "number" || typeof value === "boolean") {
    if (issue.message.startsWith("Invalid") && wantsText(issue)) return "; put it in quotes";
    return isSecret(path) ? "" : `, not ${value}`;
  }
  if (typeof value === "string") {
    if (isSecret(path) || value === "") return "";
    const options = issue.code === "invalid_value" ? issue.values : ((issue as { options?: unknown[] }).options ?? []);
    const names = options.filter((option) => typeof option === "string");
    return `, not "${shorten(value)}"${didYouMean(value, names)}`;
  }
  if (Array.isArray(value)) return issue.code === "too_small" ? "; it is empty" : ", not a list";
  return issue.code === "invalid_type" ? ", not a mapping" : "";
}

function wantsText(issue: Issue): boolean {
  return issue.code === "invalid_type" && issue.expected === "string";
}

/** How messages call the member at `path`: its own name, with the places of lists: `targets[1]`, `routes[0]`. */
export function label(path: Path): string {
  if (path.length === 0) return "the configuration";
  let from = path.length - 1;
  while (from > 0 && typeof path[from] === "number") from--;
  return `"${path
    .slice(from)
    .map((part) => (typeof part === "number" ? `[${part}]` : shorten(part)))
    .join("")}"`;
}

function shorten(text: string): string {
  return text.length > 60 ? `${text.slice(0, 60)}...` : text;
}

export function valueAt(value: unknown, path: readonly PropertyKey[]): unknown {
  return path.reduce<unknown>(at, value);
}
