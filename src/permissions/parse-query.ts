import { partProblem } from "./permission.ts";
import { compileRequirement, type QueryTemplate, type Requirement } from "./requirement.ts";
import { formatPlaceholder, type Placeholder, parsePlaceholder } from "./resource-id.ts";

/** Where a permission query is wrong. `column` counts characters of the query's own text, from 1. */
export interface QueryProblem {
  readonly column: number;
  readonly message: string;
}

export const MAX_QUERY_CHARACTERS = 1000;
export const MAX_QUERY_TUPLES = 100;

/**
 * Reads `a AND (b OR c)`: AND binds tighter than OR, both in any case (contract section 2.3). The first mistake is
 * reported. Parentheses are kept on a stack of our own, so no depth of them can exhaust the call stack.
 */
export function parseQuery(text: string): Requirement | QueryProblem {
  if (text.length > MAX_QUERY_CHARACTERS) {
    return problem(
      MAX_QUERY_CHARACTERS,
      `A permission query has at most ${MAX_QUERY_CHARACTERS} characters; this has ${text.length}.`,
    );
  }
  const tokens = tokenize(text);
  return Array.isArray(tokens) ? build(text, tokens) : tokens;
}

export function isQueryProblem(parsed: Requirement | QueryProblem): parsed is QueryProblem {
  return "column" in parsed;
}

interface Token {
  readonly kind: "tuple" | "and" | "or" | "open" | "close";
  readonly text: string;
  /** From 0. */
  readonly at: number;
}

/** One level of parentheses: the alternatives that are complete, and the AND being read. */
interface Level {
  /** Where its `(` is; -1 for the query itself. */
  readonly openedAt: number;
  readonly alternatives: QueryTemplate[];
  conjuncts: QueryTemplate[];
}

function build(text: string, tokens: readonly Token[]): Requirement | QueryProblem {
  const placeholders = new Map<string, Placeholder>();
  const outer: Level[] = [];
  let level = openLevel(-1);
  let tuples = 0;
  let previous: Token | null = null;
  for (const token of tokens) {
    const problem = misplaced(token, previous, outer.length);
    if (problem !== null) return problem;
    switch (token.kind) {
      case "tuple": {
        tuples += 1;
        if (tuples > MAX_QUERY_TUPLES) {
          return problemAt(token, `A permission query has at most ${MAX_QUERY_TUPLES} permissions.`);
        }
        const tuple = parseTuple(token, placeholders);
        if ("column" in tuple) return tuple;
        level.conjuncts.push(tuple);
        break;
      }
      case "or":
        endAlternative(level);
        break;
      case "open":
        outer.push(level);
        level = openLevel(token.at);
        break;
      case "close": {
        const inner = closeLevel(level);
        level = outer.pop() ?? level;
        level.conjuncts.push(inner);
        break;
      }
    }
    previous = token;
  }
  if (!endsOperand(previous)) return incomplete(text, previous);
  if (outer.length > 0) {
    return problem(text.length, `Expected ')': the '(' at column ${level.openedAt + 1} is never closed.`);
  }
  return compileRequirement(text, closeLevel(level), [...placeholders.values()]);
}

/** A problem when `token` can not follow `previous`. */
function misplaced(token: Token, previous: Token | null, depth: number): QueryProblem | null {
  const afterOperand = endsOperand(previous);
  switch (token.kind) {
    case "tuple":
    case "open":
      return afterOperand ? problemAt(token, `Unexpected '${token.text}': expected AND, OR or the end.`) : null;
    case "and":
    case "or":
      return afterOperand ? null : problemAt(token, `Unexpected '${token.text}': expected a permission or '('.`);
    case "close":
      if (previous?.kind === "open") return problemAt(token, "Nothing between '(' and ')': expected a permission.");
      if (!afterOperand) return problemAt(token, "Unexpected ')': expected a permission or '('.");
      return depth === 0 ? problemAt(token, "Unexpected ')': there is no '(' that it closes.") : null;
  }
}

function incomplete(text: string, last: Token | null): QueryProblem {
  return last === null
    ? problem(0, "The permission query is empty: expected a permission such as api.api_1234.read_api.")
    : problem(text.length, `The query ends after '${last.text}': expected a permission or '('.`);
}

function endsOperand(token: Token | null): boolean {
  return token !== null && (token.kind === "tuple" || token.kind === "close");
}

function openLevel(openedAt: number): Level {
  return { openedAt, alternatives: [], conjuncts: [] };
}

function endAlternative(level: Level): void {
  level.alternatives.push(joined("and", level.conjuncts));
  level.conjuncts = [];
}

function closeLevel(level: Level): QueryTemplate {
  endAlternative(level);
  return joined("or", level.alternatives);
}

/** A single part stands for itself. */
function joined(kind: "and" | "or", parts: readonly QueryTemplate[]): QueryTemplate {
  const [only] = parts;
  return parts.length === 1 && only !== undefined ? only : { kind, parts };
}

/** `placeholders` collects each one once, so that two tuples with `{path.id}` share one value. */
function parseTuple(token: Token, placeholders: Map<string, Placeholder>): QueryTemplate | QueryProblem {
  const parts = splitTuple(token);
  if (!Array.isArray(parts)) return parts;
  const [type, id, action, ...rest] = parts;
  if (type === undefined || id === undefined || action === undefined || rest.length > 0) {
    return problemAt(
      token,
      `'${token.text}' is no permission: expected exactly three parts, resourceType.resourceId.action.`,
    );
  }
  for (const [index, part] of [type, id, action].entries()) {
    if (index === 1 && part.text.startsWith("{")) continue;
    const wrong = part.text.includes("{")
      ? "a placeholder stands only for a whole resource id"
      : partProblem(part.text, index);
    if (wrong !== null) return problem(part.at, `'${token.text}' is no permission: ${wrong}.`);
  }
  if (!id.text.startsWith("{")) {
    return { kind: "permission", resourceType: type.text, resourceId: id.text, action: action.text };
  }
  const placeholder = readPlaceholder(id);
  if ("column" in placeholder) return placeholder;
  const name = formatPlaceholder(placeholder);
  const shared = placeholders.get(name) ?? placeholder;
  placeholders.set(name, shared);
  return { kind: "permission", resourceType: type.text, resourceId: shared, action: action.text };
}

interface Part {
  readonly text: string;
  readonly at: number;
}

function readPlaceholder(part: Part): Placeholder | QueryProblem {
  const end = part.text.indexOf("}");
  if (end !== part.text.length - 1) {
    return problem(part.at + end + 1, "A placeholder stands only for a whole resource id: expected '.' after '}'.");
  }
  const parsed = parsePlaceholder(part.text.slice(1, -1));
  return "problem" in parsed ? problem(part.at, `'${part.text}': ${parsed.problem}.`) : parsed;
}

/** Splits at the dots outside braces. */
function splitTuple(token: Token): Part[] | QueryProblem {
  const parts: Part[] = [];
  let start = 0;
  let openedAt = -1;
  for (let i = 0; i < token.text.length; i += 1) {
    const character = token.text[i];
    if (character === "{") {
      if (openedAt >= 0) return problem(token.at + i, "Unexpected '{' inside a placeholder: expected '}'.");
      openedAt = i;
    } else if (character === "}") {
      if (openedAt < 0) return problem(token.at + i, "Unexpected '}': there is no '{' that it closes.");
      openedAt = -1;
    } else if (character === "." && openedAt < 0) {
      parts.push({ text: token.text.slice(start, i), at: token.at + start });
      start = i + 1;
    }
  }
  if (openedAt >= 0) return problem(token.at + openedAt, "Expected '}': this '{' is never closed.");
  parts.push({ text: token.text.slice(start), at: token.at + start });
  return parts;
}

const SPACE = /[ \t\r\n]+/y;
const WORD = /[A-Za-z0-9_.:/*{}-]+/y;

function tokenize(text: string): Token[] | QueryProblem {
  const tokens: Token[] = [];
  let at = skip(SPACE, text, 0);
  while (at < text.length) {
    const character = text[at];
    if (character === "(" || character === ")") {
      tokens.push({ kind: character === "(" ? "open" : "close", text: character, at });
      at += 1;
    } else {
      const end = skip(WORD, text, at);
      if (end === at) return badCharacter(text, at);
      const word = text.slice(at, end);
      tokens.push({ kind: wordKind(word), text: word, at });
      at = end;
    }
    at = skip(SPACE, text, at);
  }
  return tokens;
}

function skip(pattern: RegExp, text: string, at: number): number {
  pattern.lastIndex = at;
  return pattern.test(text) ? pattern.lastIndex : at;
}

function wordKind(word: string): "and" | "or" | "tuple" {
  const upper = word.toUpperCase();
  if (upper === "AND") return "and";
  return upper === "OR" ? "or" : "tuple";
}

function badCharacter(text: string, at: number): QueryProblem {
  const character = String.fromCodePoint(text.codePointAt(at) ?? 0);
  return problem(
    at,
    `Unexpected character ${JSON.stringify(character)}: expected a permission (letters, digits and . _ - : / * { }), ` +
      "AND, OR or a parenthesis.",
  );
}

function problemAt(token: Token, message: string): QueryProblem {
  return problem(token.at, message);
}

/** `at` counts from 0. */
function problem(at: number, message: string): QueryProblem {
  return { column: at + 1, message };
}
