import {
  type Document,
  isAlias,
  isMap,
  isScalar,
  isSeq,
  LineCounter,
  type ParsedNode,
  parseDocument,
  type Scalar,
  type YAMLError,
} from "yaml";
import { type Environment, fillPlaceholders } from "./environment.ts";
import type { Problem } from "./problem.ts";

export type Path = readonly (string | number)[];

/**
 * A YAML file as a plain value that still knows where each part of it stands. Environment placeholders are filled in.
 * Reading never throws, whatever the text.
 */
export interface YamlTree {
  /** `{}` for an empty file. Mappings have no prototype, so that no name in the file is special. */
  readonly value: unknown;
  /** Mistakes of the text itself: syntax, duplicate members, missing environment. */
  readonly problems: readonly Problem[];
  /** False: the text could not be made sense of, and its value is not worth judging. */
  readonly readable: boolean;
  /** Members whose value is not known because of a problem: those above, and what a reader of the tree adds. */
  readonly broken: Set<string>;
  /** Members that were one placeholder and nothing else. */
  readonly placeholders: ReadonlySet<string>;
  /** A mistake in the value at `path`, or `offset` characters into it; where it is missing, at what should hold it. */
  problemAt(path: Path, message: string, offset?: number): Problem;
  /** A mistake in the name of the member at `path`. */
  problemAtName(path: Path, message: string): Problem;
}

export interface YamlTreeOptions {
  readonly env: Environment;
  /** Whether the scalar at this path must never be shown. */
  readonly isSecret: (path: Path) => boolean;
}

/** A path as a key of sets and maps. */
export function pathKey(path: Path): string {
  return path.map((part) => (typeof part === "number" ? `#${part}` : `.${part}`)).join("\u0000");
}

/** Reads the text of one YAML 1.2 document. `file` is what problems call it. */
export function readYamlTree(file: string, text: string, options: YamlTreeOptions): YamlTree {
  return new Reader(file, text, options).read();
}

interface Place {
  /** Offset of the member's name; null for list items and the root. */
  readonly name: number | null;
  /** Offset of the value. */
  readonly start: number;
  readonly scalar: Scalar | null;
}

/** Mistakes that leave the structure of the document beyond doubt: the rest of it can still be judged. */
const HARMLESS = new Set(["TAG_RESOLVE_FAILED", "BAD_DIRECTIVE"]);
const DEPTH_MAX = 64;
const NODES_MAX = 100_000;
const SYNTAX_PROBLEMS_MAX = 10;

class Reader implements YamlTree {
  value: unknown = Object.create(null);
  readable = true;
  readonly problems: Problem[] = [];
  readonly broken = new Set<string>();
  readonly placeholders = new Set<string>();

  readonly #file: string;
  readonly #text: string;
  readonly #lines: readonly string[];
  readonly #options: YamlTreeOptions;
  readonly #counter = new LineCounter();
  readonly #places = new Map<string, Place>();
  readonly #anchors = new Map<string, ParsedNode>();
  readonly #open = new Set<ParsedNode>();
  /** Ranges of the text that hold secrets, as offsets. */
  readonly #secrets: (readonly [start: number, end: number])[] = [];
  #pending: { offset: number; message: string }[] = [];
  #nodes = 0;

  constructor(file: string, text: string, options: YamlTreeOptions) {
    this.#file = file;
    this.#text = text;
    this.#lines = text.split("\n");
    this.#options = options;
  }

  read(): YamlTree {
    const document = this.#parseWithQuotes();
    if (document !== null) {
      this.#reportSyntax(document);
      if (document.contents !== null) this.value = this.#read(document.contents, [], null);
      if (this.value === null) this.value = Object.create(null);
    }
    // Only now is it known which parts of the text are secret.
    this.problems.push(...this.#pending.map(({ offset, message }) => this.#problem(offset, message)));
    return this;
  }

  problemAt(path: Path, message: string, offset = 0): Problem {
    const place = this.#places.get(pathKey(path));
    if (place === undefined) return this.#problemAtHolder(path.slice(0, -1), message);
    const inside = place.scalar === null || offset === 0 ? 0 : offsetInSource(place.scalar, this.#text, offset);
    return this.#problem(place.start + inside, message);
  }

  problemAtName(path: Path, message: string): Problem {
    const place = this.#places.get(pathKey(path));
    if (place === undefined) return this.#problemAtHolder(path.slice(0, -1), message);
    return this.#problem(place.name ?? place.start, message);
  }

  #problemAtHolder(path: Path, message: string): Problem {
    if (path.length === 0) return this.#problem(this.#places.get("")?.start ?? 0, message);
    return this.problemAtName(path, message);
  }

  #problem(offset: number, message: string): Problem {
    const { line, col } = this.#counter.lineStarts.length === 0 ? { line: 1, col: 1 } : this.#counter.linePos(offset);
    return {
      file: this.#file,
      line: Math.max(line, 1),
      column: Math.max(col, 1),
      message,
      sourceLine: this.#show(line),
    };
  }

  /** The line with every secret in it masked. */
  #show(line: number): string {
    const start = this.#counter.lineStarts[line - 1];
    let text = this.#lines[line - 1];
    if (start === undefined || text === undefined) return "";
    for (const [from, to] of this.#secrets) {
      const a = Math.max(from - start, 0);
      const b = Math.min(to - start, text.length);
      if (a < b) text = text.slice(0, a) + "*".repeat(b - a) + text.slice(b);
    }
    return maskKnownForms(text);
  }

  /**
   * A placeholder within { } or [ ] that has no quotes ends what the parser understands, and it stumbles over all that
   * follows. Each is told, and the text is read again as if that one had quotes.
   */
  #parseWithQuotes(): Document.Parsed | null {
    let text = this.#text;
    let document = this.#parse(text, this.#counter);
    while (document !== null) {
      const brace = document.errors.map(({ pos }) => pos[0]).find((at) => text.slice(at - 1, at + 1) === "${");
      // What follows the last one that is told would be its echo.
      if (brace === undefined) return document;
      if (this.#pending.length === SYNTAX_PROBLEMS_MAX) return null;
      this.#report(brace - 1, 'within { } and [ ] a placeholder needs quotes: "${NAME}"');
      this.readable = false;
      const end = brace + (/^[^\n}]*\}?/.exec(text.slice(brace))?.[0].length ?? 1);
      text = `${text.slice(0, brace)}${"_".repeat(end - brace)}${text.slice(end)}`;
      document = this.#parse(text);
    }
    return document;
  }

  #parse(text: string, lineCounter?: LineCounter): Document.Parsed | null {
    try {
      return parseDocument(text, {
        ...(lineCounter !== undefined && { lineCounter }),
        prettyErrors: false,
        version: "1.2",
        resolveKnownTags: false,
        // Compared pair by pair by the parser, which takes hours on a large mapping; compared here with a set.
        uniqueKeys: false,
      });
    } catch (error) {
      // The parser recurses: brackets nested by the thousand end its stack.
      const reason = error instanceof RangeError ? "it is nested too deeply" : "it is not YAML";
      this.#report(0, `the file can not be read: ${reason}`);
      this.readable = false;
      return null;
    }
  }

  #reportSyntax(document: Document.Parsed): void {
    const found = [...document.errors, ...document.warnings];
    if (document.errors.some((error) => !HARMLESS.has(error.code))) this.readable = false;
    // One slip makes the parser stumble several times; the first of a line is the one that helps.
    const firsts = new Map(found.reverse().map((error) => [this.#counter.linePos(error.pos[0]).line, error]));
    for (const error of [...firsts.values()].reverse().slice(0, SYNTAX_PROBLEMS_MAX)) {
      const tab = this.#indentingTab(error);
      if (tab === null) this.#report(error.pos[0], describeSyntax(error));
      else this.#report(tab, "a tab can not indent YAML; use spaces");
    }
  }

  /** Where the tab is that an indentation does not fit because of; null: it is something else. */
  #indentingTab({ code, pos }: YAMLError): number | null {
    if (code === "TAB_AS_INDENT") return pos[0];
    const { line } = this.#counter.linePos(pos[0]);
    const spaces = /^ *(?=\t)/.exec(this.#lines[line - 1] ?? "")?.[0].length;
    return code !== "BAD_INDENT" || spaces === undefined ? null : (this.#counter.lineStarts[line - 1] ?? 0) + spaces;
  }

  #report(offset: number, message: string): void {
    this.#pending.push({ offset, message });
  }

  #read(node: ParsedNode, path: Path, name: number | null): unknown {
    const start = node.range[0];
    if (!this.#places.has(pathKey(path))) {
      this.#places.set(pathKey(path), { name, start, scalar: isScalar(node) ? (node as Scalar) : null });
    }
    if (!isAlias(node) && node.anchor !== undefined) this.#anchors.set(node.anchor, node);
    if (path.length > DEPTH_MAX) return this.#refuse(start, path, "this is nested too deeply");
    if (this.#nodes++ === NODES_MAX) {
      this.readable = false;
      this.#report(start, "the file is too large here; aliases count each time they are used");
    }
    if (this.#nodes > NODES_MAX) return undefined;
    if (isAlias(node)) return this.#readAlias(node.source, node, path);
    if (isMap(node)) return this.#readMap(node as ParsedNode, path);
    if (isSeq(node))
      return this.#inside(node, () => node.items.map((item, i) => this.#readItem(item, [...path, i], start)));
    return isScalar(node) ? this.#readScalar(node as Scalar.Parsed, path) : undefined;
  }

  #readItem(item: unknown, path: Path, holder: number): unknown {
    return item === null || item === undefined
      ? this.#empty(path, null, holder)
      : this.#read(item as ParsedNode, path, null);
  }

  #readAlias(anchor: string, node: ParsedNode, path: Path): unknown {
    const target = this.#anchors.get(anchor);
    const offset = node.range[0];
    // Where there is no such anchor the parser has already said so.
    if (target === undefined) return this.#refuse(offset, path, `there is no anchor &${anchor} above this alias`);
    if (this.#open.has(target)) return this.#refuse(offset, path, `the alias *${anchor} stands inside what it names`);
    this.#nodes--;
    return this.#read(target, path, null);
  }

  #readMap(node: ParsedNode, path: Path): unknown {
    const value = Object.create(null) as Record<string, unknown>;
    return this.#inside(node, () => {
      for (const { key, value: child } of (node as unknown as { items: RawPair[] }).items) {
        const member = this.#readName(key);
        if (member === null) continue;
        const offset = key?.range?.[0] ?? node.range[0];
        if (Object.hasOwn(value, member)) {
          this.#report(offset, `"${printableName(member)}" is given twice; keep one of them`);
          // Read for what it holds: a secret is masked wherever it stands.
          if (child !== null && child !== undefined) this.#read(child, [...path, member], offset);
          continue;
        }
        const childPath = [...path, member];
        value[member] =
          child === null || child === undefined
            ? this.#empty(childPath, offset, offset)
            : this.#read(child, childPath, offset);
      }
      return value;
    });
  }

  #readName(key: RawPair["key"]): string | null {
    if (key !== null && isScalar(key)) {
      if (key.anchor !== undefined) this.#anchors.set(key.anchor, key as ParsedNode);
      // `null`, `1` and `true` as names are their own text.
      return key.value === null ? (key.source ?? "") : String(key.source ?? key.value);
    }
    this.#report((key as ParsedNode | null)?.range[0] ?? 0, "the name of a member must be plain text");
    return null;
  }

  #readScalar(node: Scalar.Parsed, path: Path): unknown {
    if (this.#options.isSecret(path)) this.#secrets.push([node.range[0], node.range[1]]);
    if (typeof node.value === "bigint") return Number(node.value);
    if (typeof node.value !== "string") return node.value;
    const filled = fillPlaceholders(node.value, this.#options.env);
    for (const { offset, message } of filled.mistakes) {
      this.#report(node.range[0] + offsetInSource(node, this.#text, offset), message);
    }
    if (filled.mistakes.length > 0) this.broken.add(pathKey(path));
    if (filled.whole) this.placeholders.add(pathKey(path));
    return filled.text;
  }

  /** A member without a value: not the same as an absent one, which could quietly leave a route without permissions. */
  #empty(path: Path, name: number | null, offset: number): null {
    this.#places.set(pathKey(path), { name, start: offset, scalar: null });
    return null;
  }

  #refuse(offset: number, path: Path, message: string): undefined {
    this.#report(offset, message);
    this.broken.add(pathKey(path));
    return undefined;
  }

  #inside<T>(node: ParsedNode, read: () => T): T {
    this.#open.add(node);
    const value = read();
    this.#open.delete(node);
    return value;
  }
}

interface RawPair {
  readonly key: (Scalar & { range?: readonly [number, number, number] | null }) | null;
  readonly value: ParsedNode | null;
}

/**
 * Where in the source of a scalar its value's character `offset` stands, counted from the scalar's start. Quotes, block
 * headers, indentation and folded lines make the two differ, so both are walked by their characters other than white
 * space; where they do not agree (escapes, filled placeholders) it is the scalar's start.
 */
function offsetInSource(scalar: Scalar, text: string, offset: number): number {
  const [start, end] = scalar.range ?? [0, 0];
  const source = text.slice(start, end);
  const header = scalar.type === "BLOCK_LITERAL" || scalar.type === "BLOCK_FOLDED" ? source.indexOf("\n") + 1 : 0;
  const quote = scalar.type === "QUOTE_DOUBLE" || scalar.type === "QUOTE_SINGLE" ? 1 : 0;
  const body = source.slice(header + quote, source.length - quote);
  const written = typeof scalar.value === "string" ? scalar.value : "";
  if (squeeze(body) !== squeeze(written)) return 0;
  let ahead = squeeze(written.slice(0, offset)).length;
  // The end of the value is behind its last character.
  if (ahead >= squeeze(written).length) return header + quote + body.trimEnd().length;
  let index = 0;
  for (; index < body.length; index++) {
    if (/\s/.test(body[index] ?? "")) continue;
    if (ahead-- === 0) break;
  }
  return header + quote + index;
}

function squeeze(text: string): string {
  return text.replaceAll(/\s+/g, "");
}

/** The parser's sentences without what they quote: a stray piece of text may be a piece of a secret. */
function describeSyntax(error: YAMLError): string {
  switch (error.code) {
    case "MULTIPLE_DOCS":
      return "a second document begins here; a file holds one";
    case "BAD_ALIAS":
      return "there is no anchor of this alias' name above it";
    case "BAD_INDENT":
      return "this line's indentation does not fit the lines around it";
    case "UNEXPECTED_TOKEN":
      return "unexpected text; is a quote, a comma or a line break missing before it?";
    case "BAD_SCALAR_START":
      return "a value can not begin with this character; put it in quotes";
    case "BLOCK_AS_IMPLICIT_KEY":
    case "MULTILINE_IMPLICIT_KEY":
      return 'a value can not hold ": " unless it is in quotes; or is a line break missing?';
    case "MISSING_CHAR":
      if (error.message.startsWith("Sequence item without"))
        return 'an entry of the list above begins with "- ", all of them in one column; is something here one space off?';
      return `${error.message.replace(/ at .*$|:.*$/s, "")}; is a quote, bracket or colon missing?`;
    case "BAD_DQ_ESCAPE":
      return "this escape is unknown in double quotes; use single quotes";
    case "TAG_RESOLVE_FAILED":
      return "YAML tags (!name) mean nothing here; leave it out";
    case "RESOURCE_EXHAUSTION":
      return "this is nested too deeply";
    default:
      return `this is not valid YAML (${error.code.toLowerCase().replaceAll("_", " ")})`;
  }
}

/** Secrets that stand where none is expected: in a syntax mistake's line, under a misspelt name. */
function maskKnownForms(line: string): string {
  const stars = (text: string) => "*".repeat(text.length);
  return line
    .replaceAll(/(?<=:\/\/)[^/@\s"']+(?=@)/g, stars)
    .replaceAll(/(?<=Bearer\s+|Basic\s+)[^\s"'{][^\s"']*/gi, stars)
    .replaceAll(/(?<=unkey_)[A-Za-z0-9_-]{8,}/g, stars)
    .replaceAll(/(?<=(?:passw\w*|secret\w*|token\w*)["']?\s*:\s+)\S.*$/gi, stars);
}

function printableName(name: string): string {
  return name.length > 60 ? `${name.slice(0, 60)}...` : name;
}
