import type { ChangeOp } from "./change-log.ts";
import { compareAndSetCommand } from "./compare-and-set.ts";
import { listRecords } from "./list-records.ts";
import { type RedisConnection, RedisRefusal } from "./redis-connection.ts";
import type { RedisLayout } from "./redis-layout.ts";
import { decode, readValue } from "./redis-source.ts";
import { grantsOf, type KeyHash, type KeyRecord } from "./root-key.ts";
import { type ImportSummary, type Keyring, KeyStoreRefusal, SourceUnavailable } from "./source.ts";

export interface ImportResult {
  readonly summary: ImportSummary;
  /** What to announce. */
  readonly changed: readonly { readonly op: ChangeOp; readonly hash: KeyHash; readonly id: string }[];
}

/** One write, and how to take it back. */
interface Step {
  readonly write: Command;
  readonly undo: Command;
}

type Command = readonly [string, ...(string | number)[]];

const PAGE = 500;

/**
 * Writes a keyring into Redis, all or nothing: everything is checked before anything is written, and what was written is
 * taken back when a later write fails. Where a role or workspace changes its meaning, the records that name it and are
 * not in the keyring are written anew as well, because each record holds what its roles and workspace mean.
 */
export async function importKeyring(
  redis: RedisConnection,
  layout: RedisLayout,
  keyring: Keyring,
  encode: (record: KeyRecord) => string,
  signal?: AbortSignal,
): Promise<ImportResult> {
  const steps: Step[] = [];
  const changed: { op: ChangeOp; hash: KeyHash; id: string }[] = [];
  const summary = { created: 0, updated: 0 };

  const definitions = await planDefinitions(redis, layout, keyring, steps);
  for (let start = 0; start < keyring.records.length; start += PAGE) {
    const page = keyring.records.slice(start, start + PAGE);
    const ids = await ask(
      redis,
      page.map(({ id }) => ["GET", layout.id(id)]),
    );
    const held = await ask(
      redis,
      page.map(({ hash }) => ["GETRANGE", layout.key(hash), 0, -1]),
    );
    for (const [index, record] of page.entries()) {
      const oldHash = typeof ids[index] === "string" ? (ids[index] as KeyHash) : null;
      const text = typeof held[index] === "string" && held[index] !== "" ? (held[index] as string) : null;
      checkHolder(record, text);
      steps.push(
        setStep(layout.key(record.hash), encode(record), text),
        setStep(layout.id(record.id), record.hash, oldHash),
      );
      changed.push({ op: "upsert", hash: record.hash, id: record.id });
      if (oldHash !== null && oldHash !== record.hash) {
        const old = await readValue(redis, layout.key(oldHash));
        if (old !== null && "text" in old) {
          steps.push({ write: ["DEL", layout.key(oldHash)], undo: restore(layout.key(oldHash), null, old.text) });
        }
        changed.push({ op: "delete", hash: oldHash, id: record.id });
      }
      if (oldHash === null) summary.created += 1;
      else summary.updated += 1;
    }
  }
  if (definitions.changed) await planOthers(redis, layout, keyring, definitions, encode, steps, changed);
  await carryOut(redis, steps, [], signal);
  if (definitions.changed) {
    // Records that were made or changed since, by what roles and workspaces meant before.
    const late: Step[] = [];
    await planOthers(redis, layout, keyring, definitions, encode, late, changed);
    await carryOut(redis, late, steps, signal);
  }
  return { summary, changed };
}

interface Definitions {
  readonly roles: ReadonlyMap<string, readonly string[]>;
  readonly workspaces: ReadonlyMap<string, boolean>;
  /** A role or workspace that was there already means something else now. */
  readonly changed: boolean;
}

async function planDefinitions(
  redis: RedisConnection,
  layout: RedisLayout,
  keyring: Keyring,
  steps: Step[],
): Promise<Definitions> {
  const oldRoles = await readHash(redis, layout.roles);
  const oldWorkspaces = await readHash(redis, layout.workspaces);
  let changed = false;
  const plan = (key: string, name: string, next: string, old: string | undefined) => {
    if (old === next) return;
    changed ||= old !== undefined;
    const undo: Command = old === undefined ? ["HDEL", key, name] : ["HSET", key, name, old];
    steps.push({ write: ["HSET", key, name, next], undo });
  };
  for (const [name, permissions] of keyring.roles) {
    plan(layout.roles, name, JSON.stringify(permissions), oldRoles.get(name));
  }
  for (const [id, enabled] of keyring.workspaces) {
    plan(layout.workspaces, id, enabled ? "enabled" : "disabled", oldWorkspaces.get(id));
  }
  const roles = new Map([...oldRoles].map(([name, list]) => [name, JSON.parse(list) as string[]]));
  const workspaces = new Map([...oldWorkspaces].map(([id, standing]) => [id, standing === "enabled"]));
  return {
    roles: new Map<string, readonly string[]>([...roles, ...keyring.roles]),
    workspaces: new Map([...workspaces, ...keyring.workspaces]),
    changed,
  };
}

/** Records that the keyring does not name, but whose role or workspace it changes. */
async function planOthers(
  redis: RedisConnection,
  layout: RedisLayout,
  keyring: Keyring,
  { roles, workspaces }: Definitions,
  encode: (record: KeyRecord) => string,
  steps: Step[],
  changed: { op: ChangeOp; hash: KeyHash; id: string }[],
): Promise<void> {
  const named = new Set(keyring.records.map(({ id }) => id));
  for await (const record of listRecords(redis, layout)) {
    if (named.has(record.id)) continue;
    const grants = grantsOf(
      record.permissions,
      record.roles.map((role) => roles.get(role) ?? []),
    );
    const workspaceEnabled = record.workspaceId === null || (workspaces.get(record.workspaceId) ?? false);
    const next = encode({ ...record, grants, workspaceEnabled });
    const text = encode(record);
    if (next === text) continue;
    const key = layout.key(record.hash);
    // Somebody may change it at this very moment, and a lost `disable` would be a hole.
    steps.push({
      write: compareAndSetCommand(key, text, next, "kept"),
      undo: compareAndSetCommand(key, next, text, "kept"),
    });
    changed.push({ op: "upsert", hash: record.hash, id: record.id });
  }
}

function checkHolder(record: KeyRecord, text: string | null): void {
  if (text === null) return;
  const value = decode({ text }, record.hash);
  if (value?.kind === "record" && value.record.id !== record.id) {
    throw new KeyStoreRefusal(
      "refused",
      `the hash of ${record.id} is held by ${value.record.id} already; nothing was changed`,
    );
  }
}

function setStep(key: string, next: string, old: string | null): Step {
  return { write: ["SET", key, next], undo: restore(key, next, old) };
}

/** Puts back what was there; not over what somebody else wrote meanwhile: a lost `disable` would be a hole. */
function restore(key: string, written: string | null, old: string | null): Command {
  return compareAndSetCommand(key, written, old, "forever");
}

/** Carries out `steps`; when one fails, or `signal` says so, takes them back, and what was `done` before. */
async function carryOut(
  redis: RedisConnection,
  steps: readonly Step[],
  done: readonly Step[],
  signal?: AbortSignal,
): Promise<void> {
  for (let start = 0; start < steps.length; start += PAGE) {
    try {
      if (signal?.aborted === true) throw new SourceUnavailable("it was told to end");
      const writes = steps.slice(start, start + PAGE).map(({ write }) => write);
      const answers = await ask(redis, writes);
      if (answers.some((answer, index) => answer === 0 && writes[index]?.[0] === "EVAL")) {
        throw new SourceUnavailable("a record was changed by someone else meanwhile");
      }
    } catch (error) {
      await takeBack(redis, [...done, ...steps.slice(0, start + PAGE)], error);
    }
  }
}

async function takeBack(redis: RedisConnection, steps: readonly Step[], cause: unknown): Promise<never> {
  const why = cause instanceof Error ? cause.message : "unknown";
  const undos = steps.map(({ undo }) => undo).reverse();
  let undone = 0;
  try {
    for (; undone < undos.length; undone += PAGE) await ask(redis, undos.slice(undone, undone + PAGE));
  } catch (error) {
    const left = undos.length - undone;
    throw new SourceUnavailable(
      `the import failed (${why}), and up to ${left} of its writes could not be taken back: import the file again`,
      { cause: error },
    );
  }
  throw new SourceUnavailable(`the import failed (${why}); nothing was changed`, { cause });
}

/** The answers in order; rejects when one is an error, but for a value of the wrong type, which counts as none. */
async function ask(redis: RedisConnection, commands: readonly Command[]): Promise<readonly unknown[]> {
  const answers = await redis.pipeline(commands);
  const failed = answers.find((answer) => answer instanceof RedisRefusal && answer.code !== "WRONGTYPE");
  if (failed !== undefined) throw failed;
  return answers;
}

async function readHash(redis: RedisConnection, key: string): Promise<Map<string, string>> {
  const flat = (await redis.call("HGETALL", key)) as string[];
  const pairs = new Map<string, string>();
  for (let index = 0; index + 1 < flat.length; index += 2) pairs.set(flat[index] ?? "", flat[index + 1] ?? "");
  return pairs;
}
