import { Document, isAlias, isMap, isScalar, isSeq, LineCounter, type Node, parseDocument, type YAMLMap } from "yaml";
import { findNearest } from "../nearest.ts";
import { grantProblem } from "../permissions/permission.ts";
import { hashKey } from "./bearer.ts";
import { parseInstant } from "./instant.ts";
import { isLabel, LABEL_EXPECTED, META_DEPTH_MAX } from "./key-fields.ts";
import { maskSecrets, maskSourceLine } from "./mask.ts";
import { parsePlainYaml } from "./plain-yaml.ts";
import { type EpochMs, grantsOf, type Identity, isKeyHash, type JsonObject, type KeyRecord } from "./root-key.ts";
import type { Keyring } from "./source.ts";

/** One mistake in a keyring, at its place; lines and columns count from 1. No member ever holds a secret. */
export interface KeyringProblem {
  readonly file: string;
  readonly line: number;
  readonly column: number;
  /** What is wrong, and what is right. */
  readonly message: string;
  /** The line itself, secrets masked; empty where the file could not be read. */
  readonly sourceLine: string;
}

export type KeyringReading =
  | { readonly kind: "keyring"; readonly keyring: Keyring }
  | { readonly kind: "problems"; readonly problems: readonly KeyringProblem[] };

/**
 * Reads a keyring (contract section 3, "Keyring file"): all of it, or every mistake in it at once. A text without
 * content is a keyring without keys. `file` is only what the problems call it.
 */
export function parseKeyring(text: string, file: string): KeyringReading {
  return readPlainly(text, file) ?? readFully(text, file);
}

/** Most keyrings are plain and without mistakes: they need neither the library nor to know where anything stands. */
function readPlainly(text: string, file: string): KeyringReading | null {
  const contents = parsePlainYaml(text);
  if (contents === null) return null;
  const source = new Source(file, text, new LineCounter());
  const keyring = new KeyringReader(contents, new Document(), source).read();
  return source.problems.length > 0 ? null : { kind: "keyring", keyring };
}

function readFully(text: string, file: string): KeyringReading {
  const lines = new LineCounter();
  const source = new Source(file, text, lines);
  const document = parseYaml(text, lines, source);
  if (document === null || source.problems.length > 0) return { kind: "problems", problems: source.sorted() };
  const keyring = new KeyringReader(document.contents, document, source).read();
  return source.problems.length > 0 ? { kind: "problems", problems: source.sorted() } : { kind: "keyring", keyring };
}

/** A keyring that could not be read or is not valid; nothing was changed. The message has one line a problem. */
export class KeyringInvalid extends Error {
  override readonly name = "KeyringInvalid";
  readonly problems: readonly KeyringProblem[];

  constructor(problems: readonly KeyringProblem[]) {
    super(problems.map(({ file, line, column, message }) => `${file}:${line}:${column}: ${message}`).join("\n"));
    this.problems = problems;
  }
}

/** What the parser says of these is for programmers. */
const YAML_MISTAKES: Readonly<Record<string, string>> = {
  DUPLICATE_KEY: "this member is there twice",
  MULTIPLE_DOCS: "a second document begins here; a file holds one",
};

function parseYaml(text: string, lines: LineCounter, source: Source): Document | null {
  try {
    const document = parseDocument(text, { lineCounter: lines, prettyErrors: false, uniqueKeys: true });
    for (const { pos, message, code } of [...document.errors, ...document.warnings]) {
      source.problemAt(pos[0], YAML_MISTAKES[code] ?? `not valid YAML: ${message}`);
    }
    return document;
  } catch (error) {
    // The parser recurses; an absurdly nested text exhausts the stack. Anything else is ours to fix.
    if (!(error instanceof RangeError)) throw error;
    source.problemAt(0, "not readable as YAML: it is nested too deeply");
    return null;
  }
}

/** The text, and the mistakes found in it. */
class Source {
  readonly problems: KeyringProblem[] = [];
  readonly #file: string;
  readonly #text: string;
  readonly #lines: LineCounter;

  constructor(file: string, text: string, lines: LineCounter) {
    this.#file = file;
    this.#text = text;
    this.#lines = lines;
  }

  problemAt(offset: number, message: string): void {
    const { line, col } = this.position(offset);
    const sourceLine = maskSourceLine(this.#text.split("\n")[line - 1]?.replace(/\r$/, "") ?? "");
    this.problems.push({ file: this.#file, line, column: col, message: maskSecrets(message), sourceLine });
  }

  position(offset: number): { line: number; col: number } {
    const { line, col } = this.#lines.linePos(offset);
    return line === 0 ? { line: 1, col: 1 } : { line, col };
  }

  sorted(): readonly KeyringProblem[] {
    return this.problems.toSorted((a, b) => a.line - b.line || a.column - b.column);
  }
}

const TOP_MEMBERS = ["workspaces", "roles", "keys"] as const;
const WORKSPACE_MEMBERS = ["id", "enabled"] as const;
const ROLE_MEMBERS = ["name", "permissions"] as const;
const IDENTITY_MEMBERS = ["externalId", "meta"] as const;
const KEY_MEMBERS = [
  "id",
  "name",
  "hash",
  "start",
  "workspaceId",
  "enabled",
  "expiresAt",
  "permissions",
  "roles",
  "identity",
  "meta",
  "createdAt",
  "updatedAt",
] as const;

/** What people write for a member that has another name, or that has no place here. */
const ADVICE: Readonly<Record<string, string>> = {
  key: "a keyring holds hashes, never keys: remove it, and give the key's SHA-256 in base64 as `hash`",
  secret: "a keyring holds hashes, never secrets: remove it, and give the key's SHA-256 in base64 as `hash`",
  token: "a keyring holds hashes, never secrets: remove it, and give the key's SHA-256 in base64 as `hash`",
  keyId: 'unknown member "keyId"; did you mean "id"?',
  expires: 'unknown member "expires"; did you mean "expiresAt"?',
  workspace: 'unknown member "workspace"; did you mean "workspaceId"?',
  externalId: 'unknown member "externalId": it stands inside `identity: { externalId: ... }`',
  disabled: 'unknown member "disabled": write `enabled: false`',
};

/** More than this many uses of an anchor's content, nested uses multiplied, is taken for an attack on memory. */
const MAX_ALIAS_COUNT = 100;

/** Where something was first defined, for "already used on line 3". */
type Seen = Map<string, number>;

/** Walks the YAML nodes rather than plain values: each mistake is reported where it stands. */
class KeyringReader {
  readonly #contents: Node | null;
  /** Knows the anchors. */
  readonly #document: Document;
  readonly #source: Source;
  /** What is wrong with each permission, null for nothing: most keys are granted the same ones. */
  readonly #grantProblems = new Map<string, string | null>();

  constructor(contents: Node | null, document: Document, source: Source) {
    this.#contents = contents;
    this.#document = document;
    this.#source = source;
  }

  read(): Keyring {
    const root = this.#contents;
    if (root === null || isNull(root)) return { records: [], roles: new Map(), workspaces: new Map() };
    const members = this.#members(root, "a keyring", TOP_MEMBERS);
    if (members === null) return { records: [], roles: new Map(), workspaces: new Map() };
    const workspaces = this.#readWorkspaces(members.get("workspaces"));
    const roles = this.#readRoles(members.get("roles"));
    return { records: this.#readKeys(members.get("keys"), roles, workspaces), roles, workspaces };
  }

  #readWorkspaces(node: Node | undefined): Map<string, boolean> {
    const workspaces = new Map<string, boolean>();
    const seen: Seen = new Map();
    for (const item of this.#items(node, "workspaces")) {
      const members = this.#members(item, "a workspace", WORKSPACE_MEMBERS);
      if (members === null) continue;
      const id = this.#requiredLabel(item, members.get("id"), "a workspace", "id");
      if (id === null || !this.#isFirst(members.get("id"), seen, id, `workspace '${id}'`)) continue;
      workspaces.set(id, this.#flag(members.get("enabled"), "enabled"));
    }
    return workspaces;
  }

  #readRoles(node: Node | undefined): Map<string, readonly string[]> {
    const roles = new Map<string, readonly string[]>();
    const seen: Seen = new Map();
    for (const item of this.#items(node, "roles")) {
      const members = this.#members(item, "a role", ROLE_MEMBERS);
      if (members === null) continue;
      const name = this.#requiredLabel(item, members.get("name"), "a role", "name");
      const permissions = this.#permissions(members.get("permissions"));
      if (name !== null && this.#isFirst(members.get("name"), seen, name, `role '${name}'`))
        roles.set(name, permissions);
    }
    return roles;
  }

  #readKeys(
    node: Node | undefined,
    roles: ReadonlyMap<string, readonly string[]>,
    workspaces: ReadonlyMap<string, boolean>,
  ): KeyRecord[] {
    const records: KeyRecord[] = [];
    const ids: Seen = new Map();
    const hashes: Seen = new Map();
    for (const item of this.#items(node, "keys")) {
      const members = this.#members(item, "a key", KEY_MEMBERS);
      if (members === null) continue;
      const record = this.#readKey(item, members, roles, workspaces);
      if (record === null) continue;
      // Both are looked at, so that a copied record is told of both at once.
      const hasOwnId = this.#isFirst(members.get("id"), ids, record.id, `key id '${record.id}'`);
      const hasOwnHash = this.#isFirst(members.get("hash"), hashes, record.hash, "this hash");
      if (hasOwnId && hasOwnHash) records.push(record);
    }
    return records;
  }

  #readKey(
    item: Node,
    members: ReadonlyMap<string, Node>,
    roles: ReadonlyMap<string, readonly string[]>,
    workspaces: ReadonlyMap<string, boolean>,
  ): KeyRecord | null {
    const id = this.#keyId(item, members.get("id"));
    const hash = this.#hash(item, members.get("hash"));
    const start = this.#label(members.get("start"), "start");
    if (start !== null && hash !== null && hashKey(start) === hash) {
      this.#problem(members.get("start"), "`start` is the whole key: it holds the prefix and four characters at most");
    }
    const workspaceId = this.#label(members.get("workspaceId"), "workspaceId");
    if (workspaceId !== null && !workspaces.has(workspaceId)) {
      const near = findNearest(workspaceId, workspaces.keys());
      this.#problem(members.get("workspaceId"), notDefined("workspace", workspaceId, near, "workspaces"));
    }
    const permissions = this.#permissions(members.get("permissions"));
    const roleNames = this.#roleNames(members.get("roles"), roles);
    const record = {
      start,
      name: this.#label(members.get("name"), "name"),
      workspaceId,
      workspaceEnabled: workspaceId === null || workspaces.get(workspaceId) === true,
      enabled: this.#flag(members.get("enabled"), "enabled"),
      expiresAt: this.#instant(members.get("expiresAt"), "expiresAt"),
      permissions,
      roles: roleNames,
      grants: grantsOf(
        permissions,
        roleNames.map((name) => roles.get(name) ?? []),
      ),
      identity: this.#identity(members.get("identity")),
      meta: this.#meta(members.get("meta")),
      createdAt: this.#instant(members.get("createdAt"), "createdAt"),
      updatedAt: this.#instant(members.get("updatedAt"), "updatedAt"),
    };
    return id === null || hash === null ? null : { id, hash, ...record };
  }

  /** An id is logged and shown: it has to look like one, so that no secret is put in its place. */
  #keyId(item: Node, node: Node | undefined): string | null {
    const id = this.#required(item, node, "a key", "id") ? this.#text(node, "id") : null;
    if (id === null || /^key_[A-Za-z0-9_.-]{1,250}$/.test(id)) return id;
    this.#problem(node, "a key's id is `key_` and then letters, digits or _ - .");
    return null;
  }

  #hash(item: Node, node: Node | undefined): KeyRecord["hash"] | null {
    const hash = this.#required(item, node, "a key", "hash") ? this.#text(node, "hash") : null;
    if (hash === null || isKeyHash(hash)) return hash;
    // What stands here may be the key itself: it is never repeated.
    const hint = /^[0-9a-f]{64}$/i.test(hash) ? "this is hexadecimal" : "this is none";
    this.#problem(node, `a hash is the SHA-256 of the whole key in base64, 44 characters that end in =; ${hint}`);
    return null;
  }

  #identity(node: Node | undefined): Identity | null {
    if (node === undefined || isNull(node)) return null;
    const members = this.#members(node, "an identity", IDENTITY_MEMBERS);
    if (members === null) return null;
    const externalId = this.#requiredLabel(node, members.get("externalId"), "an identity", "externalId");
    const meta = this.#meta(members.get("meta"));
    return externalId === null ? null : { externalId, meta };
  }

  #permissions(node: Node | undefined): readonly string[] {
    return this.#strings(node, "permissions", (permission, item) => {
      const problem = this.#grantProblem(permission);
      if (problem !== null) this.#problem(item, `permission '${permission}' would satisfy nothing: ${problem}`);
    });
  }

  #grantProblem(permission: string): string | null {
    let problem = this.#grantProblems.get(permission);
    if (problem === undefined) {
      problem = grantProblem(permission);
      this.#grantProblems.set(permission, problem);
    }
    return problem;
  }

  #roleNames(node: Node | undefined, roles: ReadonlyMap<string, unknown>): readonly string[] {
    return this.#strings(node, "roles", (name, item) => {
      if (roles.has(name)) return;
      this.#problem(item, notDefined("role", name, findNearest(name, roles.keys()), "roles"));
    });
  }

  #strings(node: Node | undefined, what: string, check: (text: string, item: Node) => void): readonly string[] {
    const texts = new Set<string>();
    for (const item of this.#items(node, what)) {
      const text = this.#text(item, what);
      if (text === null) continue;
      check(text, item);
      texts.add(text);
    }
    return [...texts];
  }

  #meta(node: Node | undefined): JsonObject {
    if (node === undefined || isNull(node)) return {};
    const target = this.#resolve(node);
    if (!isMap(target)) {
      this.#problem(node, "meta must be a mapping");
      return {};
    }
    const value = this.#plain(target);
    if (value === null || !isJson(value, META_DEPTH_MAX)) {
      this.#problem(node, `meta must be what JSON can hold, at most ${META_DEPTH_MAX} levels deep`);
      return {};
    }
    return value;
  }

  /** Null for aliases that refer to themselves or blow up (the library counts them). */
  #plain(node: YAMLMap): JsonObject | null {
    try {
      return node.toJS(this.#document, { maxAliasCount: MAX_ALIAS_COUNT }) as JsonObject;
    } catch {
      // Reported by the caller, at the node: the library's error is about its own limits.
      return null;
    }
  }

  #instant(node: Node | undefined, what: string): EpochMs | null {
    if (node === undefined || isNull(node)) return null;
    const scalar = this.#resolve(node);
    const text = isScalar(scalar) ? (scalar.source ?? String(scalar.value)) : "";
    const instant = parseInstant(text);
    if (instant === null) {
      this.#problem(node, `${what} must be an ISO 8601 date such as 2027-06-01 or 2027-06-01T00:00:00Z`);
    }
    return instant;
  }

  /** Absent is true. */
  #flag(node: Node | undefined, what: string): boolean {
    if (node === undefined) return true;
    const scalar = this.#resolve(node);
    if (isScalar(scalar) && typeof scalar.value === "boolean") return scalar.value;
    this.#problem(node, `${what} must be true or false`);
    return false;
  }

  #requiredLabel(item: Node, node: Node | undefined, whose: string, what: string): string | null {
    return this.#required(item, node, whose, what) ? this.#label(node, what) : null;
  }

  #required(item: Node, node: Node | undefined, whose: string, what: string): node is Node {
    if (node !== undefined && !isNull(node)) return true;
    this.#problem(node ?? item, `${whose} needs \`${what}\``);
    return false;
  }

  #label(node: Node | undefined, what: string): string | null {
    if (node === undefined || isNull(node)) return null;
    const text = this.#text(node, what);
    if (text === null || isLabel(text)) return text;
    this.#problem(node, `${what} ${LABEL_EXPECTED}`);
    return null;
  }

  #text(node: Node, what: string): string | null {
    const scalar = this.#resolve(node);
    if (isScalar(scalar) && typeof scalar.value === "string") return scalar.value;
    this.#problem(node, `${what} must be a string${isScalar(scalar) ? ": put it in quotes" : ""}`);
    return null;
  }

  #items(node: Node | undefined, what: string): readonly Node[] {
    if (node === undefined || isNull(node)) return [];
    const list = this.#resolve(node);
    if (isSeq(list)) return list.items as Node[];
    this.#problem(node, `${what} must be a list`);
    return [];
  }

  /** The members of a mapping by name; a name that is not `allowed` is a problem. */
  #members(node: Node, what: string, allowed: readonly string[]): ReadonlyMap<string, Node> | null {
    const map = this.#resolve(node);
    if (!isMap(map)) {
      this.#problem(node, `${what} must be a mapping with the members ${allowed.join(", ")}`);
      return null;
    }
    const members = new Map<string, Node>();
    for (const { key, value } of map.items) {
      const name = isScalar(key) ? String(key.value) : "";
      if (allowed.includes(name)) members.set(name, (value ?? key) as Node);
      else this.#problem(key as Node, this.#unknown(name, what, allowed));
    }
    return members;
  }

  #unknown(name: string, what: string, allowed: readonly string[]): string {
    const advice = Object.hasOwn(ADVICE, name) ? ADVICE[name] : undefined;
    if (advice !== undefined && allowed === KEY_MEMBERS) return advice;
    const near = findNearest(name, allowed);
    const hint = near === null ? `: ${what} has ${allowed.join(", ")}` : `; did you mean "${near}"?`;
    return `unknown member "${name}"${hint}`;
  }

  #isFirst(node: Node | undefined, seen: Seen, name: string, what: string): boolean {
    const line = this.#source.position(node?.range?.[0] ?? 0).line;
    const first = seen.get(name);
    if (first === undefined) {
      seen.set(name, line);
      return true;
    }
    this.#problem(node, `${what} is already used on line ${first}`);
    return false;
  }

  #resolve(node: Node): Node | undefined {
    return isAlias(node) ? node.resolve(this.#document) : node;
  }

  #problem(node: Node | undefined, message: string): void {
    this.#source.problemAt(node?.range?.[0] ?? 0, message);
  }
}

function isNull(node: Node): boolean {
  return isScalar(node) && node.value === null;
}

function notDefined(kind: string, name: string, near: string | null, where: string): string {
  const hint = near === null ? `: define it under \`${where}\`` : `; did you mean "${near}"?`;
  return `${kind} '${name}' is not defined${hint}`;
}

/** What `JSON.stringify` would write and `JSON.parse` read back, in at most `depth` levels. */
function isJson(value: unknown, depth: number): boolean {
  if (depth < 0) return false;
  if (value === null || typeof value === "string" || typeof value === "boolean") return true;
  if (typeof value === "number") return Number.isFinite(value);
  if (Array.isArray(value)) return value.every((item) => isJson(item, depth - 1));
  const prototype: unknown = typeof value === "object" ? Object.getPrototypeOf(value) : undefined;
  if (prototype !== Object.prototype) return false;
  return Object.values(value as object).every((item) => isJson(item, depth - 1));
}
