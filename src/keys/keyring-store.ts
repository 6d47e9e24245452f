import { isDeepStrictEqual } from "node:util";
import { type Document, isMap, isScalar, isSeq, parseDocument, visit, YAMLMap, YAMLSeq } from "yaml";
import { hashKey } from "./bearer.ts";
import { editFile, readOrNull } from "./file-edit.ts";
import { formatInstant } from "./instant.ts";
import { checkKeyFields, NO_FIELDS } from "./key-fields.ts";
import { createKeyId, createRootKey, keyStart } from "./key-id.ts";
import { KeyringInvalid, parseKeyring } from "./keyring-file.ts";
import type { KeyHash, KeyRecord } from "./root-key.ts";
import { type Clock, type CreatedKey, type KeyFields, type Keyring, type KeyStore, KeyStoreRefusal } from "./source.ts";

export interface KeyringStoreOptions {
  readonly path: string;
  /** What the secrets it makes start with. */
  readonly prefix: string;
  readonly now: Clock;
}

/**
 * Manages the keys of a keyring file. Each change is one atomic replacement of the file, made under a lock, that keeps
 * comments and order; a file that is not a valid keyring is left as it is (`KeyringInvalid`). The file is made, for its
 * owner alone, by the first `create`; until then it reads as a keyring without keys.
 */
export function createKeyringStore({ path, prefix, now }: KeyringStoreOptions): KeyStore {
  const read = async (): Promise<Keyring> => keyringOf((await readOrNull(path)) ?? "", path);

  /** `touched` are the ids whose records may differ afterwards; everything else must come through unchanged. */
  async function edit(
    touched: readonly string[],
    change: (keys: KeyNodes, keyring: Keyring) => void,
  ): Promise<Keyring> {
    let result: Keyring | undefined;
    await editFile(path, (text) => {
      const before = keyringOf(text, path);
      const document = parseDocument(text);
      refuseAliases(document, path);
      change(new KeyNodes(document), before);
      const edited = print(document, text);
      result = checkedResult(edited, before, touched, path);
      return edited;
    });
    if (result === undefined) throw new Error("the keyring was edited without a result");
    return result;
  }

  return {
    async create(fields) {
      const checked = { ...NO_FIELDS, ...checkKeyFields(fields, [], now()) };
      const created = newKey(prefix);
      await edit([created.keyId], (keys) => {
        const { name, ...rest } = spell(checked);
        keys.add({
          id: created.keyId,
          name,
          hash: hashKey(created.key),
          start: keyStart(created.key, prefix),
          ...rest,
          ...(checked.externalId !== null && { identity: { externalId: checked.externalId } }),
          createdAt: formatInstant(now()),
          updatedAt: formatInstant(now()),
        });
      });
      return created;
    },

    async get(keyId) {
      return find(await read(), keyId);
    },

    async *list() {
      yield* (await read()).records;
    },

    async update(keyId, fields, clear) {
      const checked = checkKeyFields(fields, clear, now());
      const keyring = await edit([keyId], (keys, before) => {
        required(before, keyId);
        keys.write(keyId, checked);
        keys.set(keyId, "updatedAt", formatInstant(now()));
      });
      return required(keyring, keyId);
    },

    async setEnabled(keyId, enabled) {
      const keyring = await edit([keyId], (keys, before) => {
        required(before, keyId);
        keys.set(keyId, "enabled", enabled);
        keys.set(keyId, "updatedAt", formatInstant(now()));
      });
      return required(keyring, keyId);
    },

    async reroll(keyId, graceMs) {
      const created = newKey(prefix);
      await edit([keyId, created.keyId], (keys, before) => {
        const old = required(before, keyId);
        const at = now();
        if (old.expiresAt !== null && old.expiresAt <= at) {
          // The new key would be born expired.
          throw new KeyStoreRefusal("refused", `key ${keyId} has expired: update its expiry first`);
        }
        keys.copy(keyId, created.keyId, {
          id: created.keyId,
          hash: hashKey(created.key),
          start: keyStart(created.key, prefix),
          createdAt: formatInstant(at),
          updatedAt: formatInstant(at),
        });
        if (graceMs <= 0) {
          keys.remove(keyId);
          return;
        }
        // A grace only ever shortens the life of the old key.
        keys.set(keyId, "expiresAt", formatInstant(Math.min(at + graceMs, old.expiresAt ?? Number.POSITIVE_INFINITY)));
        keys.set(keyId, "updatedAt", formatInstant(at));
      });
      return created;
    },

    async delete(keyId) {
      await edit([keyId], (keys, before) => {
        required(before, keyId);
        keys.remove(keyId);
      });
    },

    async findByHash(hash: KeyHash) {
      return (await read()).records.find((record) => record.hash === hash) ?? null;
    },

    async close() {},
  };
}

function newKey(prefix: string): CreatedKey {
  return { keyId: createKeyId(), key: createRootKey(prefix) };
}

function find(keyring: Keyring, keyId: string): KeyRecord | null {
  return keyring.records.find((record) => record.id === keyId) ?? null;
}

function required(keyring: Keyring, keyId: string): KeyRecord {
  const record = find(keyring, keyId);
  if (record === null) throw new KeyStoreRefusal("unknown", `there is no key ${keyId}`);
  return record;
}

function keyringOf(text: string, path: string): Keyring {
  const reading = parseKeyring(text, path);
  if (reading.kind === "problems") throw new KeyringInvalid(reading.problems);
  return reading.keyring;
}

/** Changing a value that an alias shares would change other keys unasked. */
function refuseAliases(document: Document, path: string): void {
  visit(document, {
    Alias() {
      throw new KeyStoreRefusal("refused", `${path} uses YAML aliases (*name), so it can only be changed by hand`);
    },
  });
}

/** The keyring that was made, which has to be a good one in which nothing else changed. */
function checkedResult(text: string, before: Keyring, touched: readonly string[], path: string): Keyring {
  const reading = parseKeyring(text, path);
  if (reading.kind === "problems") {
    throw new KeyStoreRefusal("refused", reading.problems.map((problem) => problem.message).join("; "));
  }
  const others = ({ records }: Keyring) => records.filter((record) => !touched.includes(record.id));
  const { keyring } = reading;
  const unchanged = isDeepStrictEqual(
    [others(keyring), keyring.roles, keyring.workspaces],
    [others(before), before.roles, before.workspaces],
  );
  if (!unchanged) throw new Error(`${path} could not be changed without changing other keys; nothing was written`);
  return keyring;
}

/** As the file was laid out, as far as the YAML library lets it: it aligns comments and indentation its own way. */
function print(document: Document, before: string): string {
  visit(document, {
    Collection(_, node) {
      if (node.flow === true) keepPadding(node as YAMLMap | YAMLSeq, before);
    },
  });
  const text = document.toString({ lineWidth: 0, indentSeq: !/^\w+:[^\S\n]*(?:#.*)?\r?\n-/m.test(before) });
  return before.includes("\r\n") ? text.replaceAll("\n", "\r\n") : text;
}

/** `[a]` and `{ a: 1 }` stay as they were; the library has one setting for both. New ones are written like these. */
function keepPadding(node: YAMLMap | YAMLSeq, before: string): void {
  const padded = node.range == null ? isMap(node) : before[node.range[0] + 1] === " ";
  const stringify = node.toString.bind(node);
  node.toString = (context, ...rest) =>
    stringify(context && { ...context, flowCollectionPadding: padded ? " " : "" }, ...rest);
}

/** The values of a key record as the file spells them; null removes the member. */
type Members = Readonly<Record<string, unknown>>;

/** The `keys:` of a keyring document, as YAML nodes. */
class KeyNodes {
  readonly #document: Document;

  constructor(document: Document) {
    this.#document = document;
  }

  add(members: Members): void {
    const list = this.#list();
    const map = this.#document.createNode({}) as YAMLMap;
    for (const [name, value] of Object.entries(members)) this.#setMember(map, name, value);
    if (list.items.length === 0) list.flow = false;
    else map.spaceBefore = (list.items.at(-1) as YAMLMap).spaceBefore === true;
    map.flow = false;
    list.items.push(map);
  }

  /** Writes the members of `fields` that are there; empty ones are taken out. */
  write(keyId: string, fields: Partial<KeyFields>): void {
    for (const [name, value] of Object.entries(spell(fields))) this.set(keyId, name, value);
    if (fields.externalId !== undefined) this.#setExternalId(this.#find(keyId), fields.externalId);
  }

  set(keyId: string, name: string, value: unknown): void {
    this.#setMember(this.#find(keyId), name, value);
  }

  /** A copy right behind the original, its comments with it, with `members` in place of its own. */
  copy(keyId: string, newId: string, members: Members): void {
    const list = this.#list();
    const original = this.#find(keyId);
    const copy = original.clone() as YAMLMap;
    copy.commentBefore = null;
    for (const [name, value] of Object.entries({ ...members, id: newId })) this.#setMember(copy, name, value);
    list.items.splice(list.items.indexOf(original) + 1, 0, copy);
  }

  remove(keyId: string): void {
    const list = this.#list();
    list.items.splice(list.items.indexOf(this.#find(keyId)), 1);
    // An empty block list has no spelling of its own.
    if (list.items.length === 0) list.flow = true;
  }

  #find(keyId: string): YAMLMap {
    const map = this.#list().items.find((item) => isMap(item) && item.get("id") === keyId);
    if (!isMap(map)) throw new Error("a key of the keyring is not in its document");
    return map;
  }

  /** The list under `keys`, made where there is none. */
  #list(): YAMLSeq {
    const { contents } = this.#document;
    const root = isMap(contents) ? contents : new YAMLMap();
    // A file of comments alone has a null for contents; its comments stay on the document.
    if (root !== contents) this.#document.contents = root as typeof contents;
    const list = root.get("keys", true);
    if (isSeq(list)) return list;
    const made = new YAMLSeq();
    root.set("keys", made);
    return made;
  }

  #setExternalId(map: YAMLMap, externalId: string | null): void {
    const identity = map.get("identity", true);
    if (externalId === null) map.delete("identity");
    else if (isMap(identity)) identity.set("externalId", externalId);
    else map.set("identity", this.#document.createNode({ externalId }, { flow: true }));
  }

  #setMember(map: YAMLMap, name: string, value: unknown): void {
    const present = map.get(name, true);
    if (value === null) map.delete(name);
    else if (Array.isArray(value) && isSeq(present)) reconcile(present, value as readonly string[]);
    else if (typeof value === "object") map.set(name, this.#document.createNode(value, { flow: true }));
    // A scalar that is there keeps its comment; its style is left to the new value.
    else if (isScalar(present)) present.value = value;
    else map.set(name, value);
  }
}

/** Keeps the items that stay, their comments with them, and adds the others behind. */
function reconcile(list: YAMLSeq, wanted: readonly string[]): void {
  const left = new Set(wanted);
  list.items = list.items.filter((item) => isScalar(item) && typeof item.value === "string" && left.delete(item.value));
  for (const text of left) list.add(text);
}

/** The members of `fields` that are there, as the file spells them, but for the identity, which may hold more. */
function spell(fields: Partial<KeyFields>): Members {
  const { name, workspaceId, permissions, roles, expiresAt, meta } = fields;
  return {
    ...(name !== undefined && { name }),
    ...(workspaceId !== undefined && { workspaceId }),
    ...(permissions !== undefined && { permissions: permissions.length === 0 ? null : permissions }),
    ...(roles !== undefined && { roles: roles.length === 0 ? null : roles }),
    ...(expiresAt !== undefined && { expiresAt: expiresAt === null ? null : formatInstant(expiresAt) }),
    ...(meta !== undefined && { meta: Object.keys(meta).length === 0 ? null : meta }),
  };
}
