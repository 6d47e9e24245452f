import { hashKey } from "./bearer.ts";
import { appendChange, type ChangeOp, changeCommand, waitForInstances } from "./change-log.ts";
import { compareAndSet, type Lifetime } from "./compare-and-set.ts";
import { checkKeyFields, NO_FIELDS } from "./key-fields.ts";
import { createKeyId, createRootKey, keyStart } from "./key-id.ts";
import { listRecords } from "./list-records.ts";
import { decodeValue, encodeRecord, LIST_LENGTH_MAX, metaProblem, VALUE_BYTES_MAX } from "./record-codec.ts";
import { type RedisConnection, RedisRefusal } from "./redis-connection.ts";
import { importKeyring } from "./redis-import.ts";
import type { RedisLayout } from "./redis-layout.ts";
import { decode, readValue } from "./redis-source.ts";
import { grantsOf, isKeyHash, type KeyHash, type KeyRecord } from "./root-key.ts";
import { markForgotten } from "./shared-source.ts";
import {
  type Clock,
  type CreatedKey,
  IncompleteChange,
  type KeyFields,
  KeyStoreRefusal,
  type SharedKeyStore,
  SourceUnavailable,
} from "./source.ts";

export interface RedisStoreSettings {
  readonly layout: RedisLayout;
  /** What new keys start with. */
  readonly keyPrefix: string;
  /** `redis`: the records live here. `service`: they live in a key service, and Redis holds copies: only `forget` works. */
  readonly records: "redis" | "service";
  /** How long the mark of a `forget` holds off look-ups that began before it. */
  readonly forgottenMs: number;
  readonly now: Clock;
}

const ATTEMPTS_MAX = 10;
/** Entries of the stream that are appended in one go. */
const PAGE = 500;
/** For Redis to be reached by a command that has just started. */
const REACH_MS = 2500;

/**
 * Manages records in Redis: the record first, then the entry in the stream of changes. Out of reach before anything was
 * sent: `SourceUnavailable`, nothing was changed. Later: `IncompleteChange`, which says what holds.
 */
export function createRedisStore(redis: RedisConnection, settings: RedisStoreSettings): SharedKeyStore {
  const { layout, keyPrefix, now } = settings;
  let lastChange: { readonly entry: string; readonly at: number } | null = null;

  /** Before anything is written: with Redis frozen, a command that was sent could still take effect later. */
  async function begin(): Promise<void> {
    if (settings.records === "service") {
      throw new KeyStoreRefusal(
        "refused",
        "the records live in the key service: change them there, then `keys forget`",
      );
    }
    await reach();
  }

  async function reach(): Promise<void> {
    if (!(await redis.whenUp(REACH_MS))) throw new SourceUnavailable("Redis is out of reach; nothing was changed");
    await redis.call("PING");
  }

  async function announce(op: ChangeOp, record: { hash: KeyHash; id: string }, holds: string): Promise<void> {
    try {
      const at = performance.now();
      lastChange = {
        entry: await appendChange(redis, layout, { op, hash: record.hash, id: record.id, at: now() }),
        at,
      };
    } catch (error) {
      throw new IncompleteChange(`${holds}, but announcing it failed (${reason(error)}): ${UNANNOUNCED}`, error);
    }
  }

  async function findHash(keyId: string): Promise<KeyHash> {
    const hash = await redis.call("GET", layout.id(keyId));
    if (!isKeyHash(hash)) throw unknownKey(keyId);
    return hash;
  }

  async function readRecord(hash: KeyHash): Promise<{ record: KeyRecord; text: string } | null> {
    const raw = await readValue(redis, layout.key(hash));
    const value = decode(raw, hash);
    if (value === null || value.kind === "forgotten") return null;
    if (value.kind === "record" && raw !== null && "text" in raw) return { record: value.record, text: raw.text };
    const why = value.kind === "unreadable" ? value.why : "a shared copy";
    throw new SourceUnavailable(`the value in Redis is no record of this key (${why}); nothing was changed`);
  }

  async function getRecord(keyId: string): Promise<{ record: KeyRecord; text: string }> {
    const found = await readRecord(await findHash(keyId));
    if (found === null || found.record.id !== keyId) throw unknownKey(keyId);
    return found;
  }

  /** Replaces a record by what `change` makes of it; starts over when somebody else changed it meanwhile. */
  async function replace(
    keyId: string,
    change: (record: KeyRecord) => KeyRecord | Promise<KeyRecord>,
    lifetime: (record: KeyRecord) => Lifetime,
  ): Promise<KeyRecord> {
    for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt += 1) {
      const { record, text } = await getRecord(keyId);
      const next = await change(record);
      const key = layout.key(record.hash);
      const replaced = await firstWrite(() => compareAndSet(redis, key, text, encode(next), lifetime(next)));
      if (replaced) return next;
    }
    throw new SourceUnavailable(CONTENDED);
  }

  async function resolve(roles: readonly string[], workspaceId: string | null) {
    const granted: (readonly string[])[] = [];
    for (const role of roles) {
      const definition = await redis.call("HGET", layout.roles, role);
      if (typeof definition !== "string") throw refused(`role '${role}' is not defined: import a keyring that does`);
      granted.push(JSON.parse(definition) as string[]);
    }
    if (workspaceId === null) return { granted, workspaceEnabled: true };
    const standing = await redis.call("HGET", layout.workspaces, workspaceId);
    if (typeof standing !== "string") {
      throw refused(`workspace '${workspaceId}' is not defined: import a keyring that does`);
    }
    return { granted, workspaceEnabled: standing === "enabled" };
  }

  /** The record with what its roles and its workspace mean at present. */
  async function withMeaning(record: KeyRecord): Promise<KeyRecord> {
    const { granted, workspaceEnabled } = await resolve(record.roles, record.workspaceId);
    return { ...record, grants: grantsOf(record.permissions, granted), workspaceEnabled };
  }

  /**
   * An import that redefined a role or a workspace may not have seen this record, if it was written meanwhile: its meaning
   * is looked at once more. One that begins later sees the record, and looks once more at the end itself.
   */
  async function settle(record: KeyRecord): Promise<KeyRecord> {
    if (encode(await withMeaning(record)) === encode(record)) return record;
    return settle(await replace(record.id, withMeaning, () => "kept"));
  }

  /** Stores a record under a new secret and announces it. */
  async function store(fields: Omit<KeyRecord, "id" | "hash" | "start">): Promise<CreatedKey & { record: KeyRecord }> {
    const key = createRootKey(keyPrefix);
    const record: KeyRecord = { ...fields, id: createKeyId(), hash: hashKey(key), start: keyStart(key, keyPrefix) };
    const text = encode(record);
    const created = { keyId: record.id, key };
    const idTaken = (await firstWrite(() => redis.call("SET", layout.id(record.id), record.hash, "NX"))) !== "OK";
    if (idTaken) throw new SourceUnavailable("the new id is taken already; nothing was changed");
    try {
      const stored = await redis.call("SET", layout.key(record.hash), text, "NX");
      if (stored !== "OK") throw new SourceUnavailable("the new key's hash is taken already");
    } catch (error) {
      // An id without a record reads as an unknown key; if this fails too, that is all that is left behind.
      await redis.call("DEL", layout.id(record.id)).catch(() => {});
      if (error instanceof RedisRefusal) throw new SourceUnavailable(`${error.message}; nothing was changed`);
      throw new IncompleteChange(`it is not known whether the key was stored (${reason(error)})`, error, created);
    }
    await settle(record).catch((error) => {
      const holds = `key ${record.id} was stored, but whether its roles were redefined meanwhile is not known`;
      throw new IncompleteChange(`${holds} (${reason(error)}): update it`, error, created);
    });
    await announce("upsert", record, `key ${record.id} was stored`).catch((error) => {
      throw withCreated(error, created);
    });
    return { ...created, record };
  }

  return {
    async create(given) {
      await begin();
      const fields = { ...NO_FIELDS, ...checkFields(given, [], now()) };
      const { granted, workspaceEnabled } = await resolve(fields.roles, fields.workspaceId);
      const at = now();
      const { keyId, key } = await store({
        name: fields.name,
        workspaceId: fields.workspaceId,
        workspaceEnabled,
        enabled: true,
        expiresAt: fields.expiresAt,
        permissions: fields.permissions,
        roles: fields.roles,
        grants: grantsOf(fields.permissions, granted),
        identity: fields.externalId === null ? null : { externalId: fields.externalId, meta: {} },
        meta: fields.meta,
        createdAt: at,
        updatedAt: at,
      });
      return { keyId, key };
    },

    async get(keyId) {
      await begin();
      const hash = await redis.call("GET", layout.id(keyId));
      if (!isKeyHash(hash)) return null;
      const found = await readRecord(hash);
      return found?.record.id === keyId ? found.record : null;
    },

    async *list() {
      await begin();
      yield* listRecords(redis, layout);
    },

    async update(keyId, given, clear) {
      await begin();
      const fields = checkFields(given, clear, now());
      await getRecord(keyId);
      const { externalId, ...rest } = fields;
      // A rerolled key goes away with its grace, unless it is given a new end. Its id first: a record without one could
      // not be managed any more, an id without a record is an unknown key.
      const lifetime = fields.expiresAt === undefined ? "kept" : "forever";
      if (lifetime === "forever") await firstWrite(() => redis.call("PERSIST", layout.id(keyId)));
      const written = await replace(
        keyId,
        (current) =>
          withMeaning({
            ...current,
            ...rest,
            ...(externalId !== undefined && {
              identity: externalId === null ? null : { externalId, meta: current.identity?.meta ?? {} },
            }),
            updatedAt: now(),
          }),
        () => lifetime,
      );
      const record = await settle(written).catch((error) => {
        const holds = `key ${keyId} was updated, but whether its roles were redefined meanwhile is not known`;
        throw new IncompleteChange(`${holds} (${reason(error)}): update it again`, error);
      });
      await announce("upsert", record, `key ${keyId} was updated`);
      return record;
    },

    async setEnabled(keyId, enabled) {
      await begin();
      const record = await replace(
        keyId,
        (current) => ({ ...current, enabled, updatedAt: now() }),
        () => "kept",
      );
      await announce("upsert", record, `key ${keyId} was ${enabled ? "enabled" : "disabled"}`);
      return record;
    },

    async reroll(keyId, graceMs) {
      await begin();
      for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt += 1) {
        const { record: old, text } = await getRecord(keyId);
        const at = now();
        if (old.expiresAt !== null && old.expiresAt <= at)
          throw refused(`key ${keyId} has expired: update its expiry first`);
        const { id: _id, hash: _hash, start: _start, ...fields } = old;
        const { keyId: newId, key, record } = await store({ ...fields, createdAt: at, updatedAt: at });
        const created = { keyId: newId, key };
        try {
          if (await end(old, text, graceMs)) return created;
          // Somebody changed the old one meanwhile, and the new one is as it was before: it might be let in for nothing.
          await remove(record);
        } catch (error) {
          if (error instanceof IncompleteChange) throw withCreated(error, created);
          const holds = `key ${record.id} was made, but ${keyId} could not be ended and still works: delete it`;
          throw new IncompleteChange(`${holds} (${reason(error)})`, error, created);
        }
      }
      throw new SourceUnavailable(CONTENDED);
    },

    async delete(keyId) {
      await begin();
      const hash = await findHash(keyId);
      const value = decode(await readValue(redis, layout.key(hash)), hash);
      if (value?.kind === "record" && value.record.id !== keyId) throw unknownKey(keyId);
      await remove({ id: keyId, hash });
    },

    async findByHash(hash) {
      await begin();
      return (await readRecord(hash))?.record ?? null;
    },

    async importKeyring(keyring, signal) {
      await begin();
      const { summary, changed } = await importKeyring(redis, layout, keyring, encode, signal);
      const at = performance.now();
      try {
        for (let start = 0; start < changed.length; start += PAGE) {
          const page = changed.slice(start, start + PAGE);
          const entries = await redis.pipeline(page.map((change) => changeCommand(layout, { ...change, at: now() })));
          const failed = entries.find((entry) => entry instanceof RedisRefusal);
          if (failed !== undefined) throw failed;
          const entry = entries.at(-1);
          if (typeof entry === "string") lastChange = { entry, at };
        }
      } catch (error) {
        throw new IncompleteChange(
          `every record was stored, but announcing them failed (${reason(error)}): ${UNANNOUNCED}`,
          error,
        );
      }
      return summary;
    },

    async forget(key) {
      await reach();
      const hash = "hash" in key ? key.hash : await findHash(key.id);
      const id = "id" in key ? key.id : "";
      if (settings.records === "service") {
        await firstWrite(() => markForgotten(redis, layout, hash, `forget-${createKeyId()}`, settings.forgottenMs));
      }
      await announce("forget", { hash, id }, "shared copies were removed");
    },

    async waitForInstances(timeoutMs) {
      await reach();
      const waited = lastChange === null ? 0 : Math.round(performance.now() - lastChange.at);
      const report = await waitForInstances(redis, layout, lastChange?.entry ?? "0-0", timeoutMs);
      return { ...report, ms: report.ms + waited };
    },

    close: () => redis.close(),
  };

  async function remove(record: { id: string; hash: KeyHash }): Promise<void> {
    await firstWrite(() => redis.call("DEL", layout.key(record.hash)));
    await announceEnd(record);
  }

  async function announceEnd(record: { id: string; hash: KeyHash }): Promise<void> {
    await announce("delete", record, `key ${record.id} was deleted`);
    // Last: while the id is known, a delete whose announcement failed can be made again.
    await redis.call("DEL", layout.id(record.id)).catch(() => {});
  }

  /** Ends a rerolled key, at once or after its grace. False: it is no longer what `text` says, nothing was changed. */
  async function end(old: KeyRecord, text: string, graceMs: number): Promise<boolean> {
    const key = layout.key(old.hash);
    if (graceMs === 0) {
      if (!(await firstWrite(() => compareAndSet(redis, key, text, null)))) return false;
      await announceEnd(old);
      return true;
    }
    const endsAt = now() + graceMs;
    const ending = { ...old, expiresAt: Math.min(old.expiresAt ?? endsAt, endsAt), updatedAt: now() };
    if (!(await firstWrite(() => compareAndSet(redis, key, text, encode(ending), graceMs)))) return false;
    // What is left of an id without a record reads as an unknown key.
    await redis.call("PEXPIRE", layout.id(old.id), graceMs).catch(() => {});
    await announce("upsert", old, `key ${old.id} ends when its grace does`);
    return true;
  }
}

const NOT_KEPT = `can not be kept in Redis: at most ${LIST_LENGTH_MAX} permissions, its roles' among them, no date before 1970, no expiry before 1973`;
const CONTENDED = "the record is being changed by others again and again; nothing was changed";
const UNANNOUNCED = "instances take it up within keys.cache.fresh (or keys.cache.missing, for a new key)";

function checkFields(...[given, clear, at]: Parameters<typeof checkKeyFields>): Partial<KeyFields> {
  const fields = checkKeyFields(given, clear, at);
  const problem = fields.meta === undefined ? null : metaProblem(fields.meta);
  if (problem !== null) throw refused(`meta ${problem}`);
  return fields;
}

function encode(record: KeyRecord): string {
  const text = encodeRecord(record);
  if (Buffer.byteLength(text) > VALUE_BYTES_MAX) throw refused(`the record of ${record.id} would be over 64 KiB`);
  // What no gateway can read would be 503 for its key, and in nobody's list.
  if (decodeValue(text, record.hash).kind !== "record") throw refused(`the record of ${record.id} ${NOT_KEPT}`);
  return text;
}

/** The first write of a change: refused means that nothing was changed, unanswered means that nobody knows. */
async function firstWrite<T>(write: () => Promise<T>): Promise<T> {
  try {
    return await write();
  } catch (error) {
    if (error instanceof RedisRefusal) throw new SourceUnavailable(`${error.message}; nothing was changed`);
    if (!(error instanceof SourceUnavailable)) throw error;
    throw new IncompleteChange(`${error.message}; it is not known whether the change was made: look with get`, error);
  }
}

function withCreated(error: unknown, created: CreatedKey): unknown {
  return error instanceof IncompleteChange ? new IncompleteChange(error.message, error.cause, created) : error;
}

function unknownKey(keyId: string): KeyStoreRefusal {
  return new KeyStoreRefusal("unknown", `there is no key ${keyId}`);
}

function refused(message: string): KeyStoreRefusal {
  return new KeyStoreRefusal("refused", message);
}

function reason(error: unknown): string {
  return error instanceof Error ? error.message : "unknown";
}
