import { LAST_INSTANT, parseInstant } from "./instant.ts";
import { META_DEPTH_MAX } from "./key-fields.ts";
import type { Identity, JsonObject, KeyHash, KeyRecord } from "./root-key.ts";
import { isKeyHash } from "./root-key.ts";

/**
 * How key records are spelled in Redis (`<keyPrefix>key:<hash>`) and in a key service's answers, and the strict way
 * back. Whatever is not exactly that is *unreadable*, with a word on why that never repeats the value.
 *
 * A value in Redis is JSON with a format version and a kind:
 * - `record`: Redis is the source, and this is the record.
 * - `copy`: a key service gave this record at `asOf`; it lives for `sharedFresh`.
 * - `forgotten`: the mark a change leaves where a copy may be, so that a look-up that began before it can not put the
 *   old record back. `change` differs from change to change.
 */
export type StoredValue =
  | { readonly kind: "record"; readonly record: KeyRecord }
  | { readonly kind: "copy"; readonly record: KeyRecord; readonly asOf: number }
  | { readonly kind: "forgotten" }
  | { readonly kind: "unreadable"; readonly why: Unreadable };

/** Why a value is not taken: a closed list, fit for logs. */
export type Unreadable =
  | "not JSON"
  | "too large"
  | "other version"
  | "wrong shape"
  | "another key's record"
  | "wrong type";

/** Every change of the form below is a new version: an older gateway that skipped a member could allow too much. */
const FORMAT_VERSION = 1;

/** More than this is never written, and never read from Redis in full. */
export const VALUE_BYTES_MAX = 64 * 1024;
/** Of a record: its permissions, its roles, and all that it is granted. */
export const LIST_LENGTH_MAX = 2000;
const GRANT_LENGTH_MAX = 512;
/** 1973 in milliseconds: a smaller expiry was meant in seconds. */
const EXPIRY_MIN = 1e11;

export function encodeRecord(record: KeyRecord): string {
  return JSON.stringify({ v: FORMAT_VERSION, kind: "record", record: spell(record) });
}

export function encodeCopy(record: KeyRecord, asOf: number): string {
  return JSON.stringify({ v: FORMAT_VERSION, kind: "copy", asOf, record: spell(record) });
}

export function encodeForgotten(change: string): string {
  return JSON.stringify({ v: FORMAT_VERSION, kind: "forgotten", change });
}

/** Reads the value kept for `hash`. Never throws, whatever it is given. */
export function decodeValue(text: string, hash: KeyHash): StoredValue {
  if (text.length > VALUE_BYTES_MAX) return unreadable("too large");
  const value = parseJson(text);
  if (value === undefined) return unreadable("not JSON");
  if (!isObject(value)) return unreadable("wrong shape");
  if (value.v !== FORMAT_VERSION) return unreadable("other version");
  if (value.kind === "forgotten") return FORGOTTEN;
  if (value.kind !== "record" && value.kind !== "copy") return unreadable("wrong shape");
  const record = readStoredRecord(value.record);
  if (record === null) return unreadable("wrong shape");
  if (record.hash !== hash) return unreadable("another key's record");
  if (value.kind === "record") return { kind: "record", record };
  return isInstant(value.asOf) ? { kind: "copy", record, asOf: value.asOf } : unreadable("wrong shape");
}

/**
 * Reads a key service's answer to a look-up of `hash` (contract section 3): required are `id`, `hash`, `enabled`,
 * `workspaceEnabled` and `permissions`, the roles' already among them; dates are ISO 8601; other members are ignored.
 */
export function decodeServiceAnswer(text: string, hash: KeyHash): KeyRecord | { readonly why: Unreadable } {
  const value = parseJson(text);
  if (value === undefined) return { why: "not JSON" };
  if (!isObject(value)) return { why: "wrong shape" };
  if (typeof value.hash === "string" && value.hash !== hash) return { why: "another key's record" };
  return readServiceRecord(value) ?? { why: "wrong shape" };
}

/** What is wrong with a `meta` that someone wants stored, or null. */
export function metaProblem(meta: unknown): string | null {
  if (!isObject(meta)) return "must be a JSON object";
  if (!isShallow(meta)) return `must not nest deeper than ${META_DEPTH_MAX} levels`;
  return null;
}

const FORGOTTEN = { kind: "forgotten" } as const;

function unreadable(why: Unreadable): StoredValue {
  return { kind: "unreadable", why };
}

/** Always in the same order: one record has one spelling, so that stored ones can be compared as text. */
function spell(record: KeyRecord): Record<keyof KeyRecord, unknown> {
  return {
    id: record.id,
    hash: record.hash,
    start: record.start,
    name: record.name,
    workspaceId: record.workspaceId,
    workspaceEnabled: record.workspaceEnabled,
    enabled: record.enabled,
    expiresAt: record.expiresAt,
    permissions: record.permissions,
    roles: record.roles,
    grants: [...record.grants],
    identity: record.identity,
    meta: record.meta,
    createdAt: record.createdAt,
    updatedAt: record.updatedAt,
  };
}

const STORED_MEMBERS = new Set<string>([
  "id",
  "hash",
  "start",
  "name",
  "workspaceId",
  "workspaceEnabled",
  "enabled",
  "expiresAt",
  "permissions",
  "roles",
  "grants",
  "identity",
  "meta",
  "createdAt",
  "updatedAt",
] satisfies (keyof KeyRecord)[]);

function readStoredRecord(value: unknown): KeyRecord | null {
  if (!isObject(value)) return null;
  const names = Object.keys(value);
  if (names.length !== STORED_MEMBERS.size || !names.every((name) => STORED_MEMBERS.has(name))) return null;
  const { id, hash, start, name, workspaceId, workspaceEnabled, enabled, expiresAt, createdAt, updatedAt } = value;
  const { permissions, roles, grants, meta } = value;
  const identity = readIdentity(value.identity);
  if (!isId(id) || !isKeyHash(hash) || !isTextOrNull(start) || !isTextOrNull(name) || !isTextOrNull(workspaceId)) {
    return null;
  }
  if (typeof workspaceEnabled !== "boolean" || typeof enabled !== "boolean") return null;
  if (!isExpiryOrNull(expiresAt) || !isInstantOrNull(createdAt) || !isInstantOrNull(updatedAt)) return null;
  if (!isGrantList(permissions) || !isGrantList(roles) || !isGrantList(grants)) return null;
  if (identity === undefined || !isMeta(meta)) return null;
  return {
    id,
    hash,
    start,
    name,
    workspaceId,
    workspaceEnabled,
    enabled,
    expiresAt,
    permissions,
    roles,
    grants: new Set(grants),
    identity,
    meta,
    createdAt,
    updatedAt,
  };
}

function readServiceRecord(value: JsonObject): KeyRecord | null {
  const { id, hash, enabled, workspaceEnabled, permissions } = value;
  if (!isId(id) || !isKeyHash(hash) || !isGrantList(permissions)) return null;
  if (typeof workspaceEnabled !== "boolean" || typeof enabled !== "boolean") return null;
  const { start = null, name = null, workspaceId = null } = value;
  if (!isTextOrNull(start) || !isTextOrNull(name) || !isTextOrNull(workspaceId)) return null;
  const roles = value.roles ?? [];
  const meta = value.meta ?? {};
  const identity = readIdentity(value.identity);
  const expiresAt = readDate(value.expiresAt);
  const createdAt = readDate(value.createdAt);
  const updatedAt = readDate(value.updatedAt);
  if (!isGrantList(roles) || !isMeta(meta) || identity === undefined) return null;
  if (!isExpiryOrNull(expiresAt) || createdAt === undefined || updatedAt === undefined) return null;
  const grants = new Set(permissions);
  return {
    id,
    hash,
    start,
    name,
    workspaceId,
    workspaceEnabled,
    enabled,
    expiresAt,
    permissions,
    roles,
    grants,
    identity,
    meta,
    createdAt,
    updatedAt,
  };
}

/** Undefined: neither a date nor absent. */
function readDate(value: unknown): number | null | undefined {
  if (value === undefined || value === null) return null;
  return (typeof value === "string" ? parseInstant(value) : null) ?? undefined;
}

/** Undefined: neither an identity nor absent. */
function readIdentity(value: unknown): Identity | null | undefined {
  if (value === undefined || value === null) return null;
  if (!isObject(value)) return undefined;
  const { externalId, meta = {} } = value;
  return isText(externalId) && externalId !== "" && isMeta(meta) ? { externalId, meta } : undefined;
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined; // The caller reports the value as unreadable.
  }
}

function isObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isText(value: unknown): value is string {
  return typeof value === "string" && value.length <= 1024;
}

function isTextOrNull(value: unknown): value is string | null {
  return value === null || isText(value);
}

/** Ids are logged and become part of names in Redis: visible ASCII. */
function isId(value: unknown): value is string {
  return typeof value === "string" && /^[\x21-\x7e]{1,255}$/.test(value);
}

function isGrantList(value: unknown): value is string[] {
  if (!Array.isArray(value) || value.length > LIST_LENGTH_MAX) return false;
  return value.every((item) => typeof item === "string" && item !== "" && item.length <= GRANT_LENGTH_MAX);
}

function isInstant(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0 && (value as number) <= LAST_INSTANT;
}

function isInstantOrNull(value: unknown): value is number | null {
  return value === null || isInstant(value);
}

function isExpiryOrNull(value: unknown): value is number | null {
  return value === null || (isInstant(value) && value >= EXPIRY_MIN);
}

function isMeta(value: unknown): value is JsonObject {
  return isObject(value) && isShallow(value);
}

/** Deep values make JSON.stringify overflow the stack later, when the principal is written. */
function isShallow(value: unknown): boolean {
  let level: unknown[] = [value];
  for (let depth = 0; level.length > 0; depth += 1) {
    if (depth > META_DEPTH_MAX) return false;
    level = level.flatMap((item) => (typeof item === "object" && item !== null ? Object.values(item) : []));
  }
  return true;
}
