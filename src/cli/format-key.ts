import { formatInstant } from "../keys/instant.ts";
import { type EpochMs, type KeyRecord, standing } from "../keys/root-key.ts";

/** A record as `--json` prints it: the contract's members, dates as ISO 8601, empty optional ones left out. */
export function recordJson(record: KeyRecord): Readonly<Record<string, unknown>> {
  const { id, hash, start, name, workspaceId, enabled, expiresAt, permissions, roles, identity, meta } = record;
  return {
    id,
    hash,
    ...(start !== null && { start }),
    ...(name !== null && { name }),
    ...(workspaceId !== null && { workspaceId }),
    enabled,
    ...(expiresAt !== null && { expiresAt: formatInstant(expiresAt) }),
    permissions,
    roles,
    ...(identity !== null && { identity }),
    meta,
    ...(record.createdAt !== null && { createdAt: formatInstant(record.createdAt) }),
    ...(record.updatedAt !== null && { updatedAt: formatInstant(record.updatedAt) }),
  };
}

/** A record for people: one member a line, those that say nothing left out. */
export function formatRecord(record: KeyRecord, now: EpochMs): string {
  const { roles, identity, meta } = record;
  const ofRoles = [...record.grants].filter((grant) => !record.permissions.includes(grant));
  return formatRows([
    ["id", record.id],
    ["name", record.name],
    ["standing", formatStanding(record, now)],
    ["start", record.start],
    ["workspace", record.workspaceId],
    ["expires", record.expiresAt === null ? "never" : formatInstant(record.expiresAt)],
    ["permissions", record.permissions.length === 0 ? "none" : record.permissions.join("\n")],
    ["roles", roles.length === 0 ? null : roles.join(", ")],
    ["by its roles", ofRoles.length === 0 ? null : ofRoles.join("\n")],
    ["external id", identity === null ? null : identity.externalId],
    ["meta", Object.keys(meta).length === 0 ? null : JSON.stringify(meta)],
    ["created", record.createdAt === null ? null : formatInstant(record.createdAt)],
    ["updated", record.updatedAt === null ? null : formatInstant(record.updatedAt)],
  ]);
}

/** One record a line; fixed columns, so that the first is shown before the last is known. */
export const LIST_HEADER = listLine("ID", "STANDING", "EXPIRES", "GRANTS", "START", "NAME");

export function formatListLine(record: KeyRecord, now: EpochMs): string {
  return listLine(
    record.id,
    formatStanding(record, now),
    record.expiresAt === null ? "never" : formatInstant(record.expiresAt),
    String(record.grants.size),
    record.start ?? "",
    record.name ?? "",
  );
}

export function formatStanding(record: KeyRecord, now: EpochMs): string {
  return standing(record, now).replace("_", " ");
}

/** `label  value` lines; a null value leaves its line out, the lines of a long one stand below each other. */
export function formatRows(rows: readonly (readonly [label: string, value: string | null])[]): string {
  const shown = rows.filter((row): row is readonly [string, string] => row[1] !== null);
  const width = Math.max(...shown.map(([label]) => label.length));
  return shown
    .map(([label, value]) => `${label.padEnd(width)}  ${value.replaceAll("\n", `\n${" ".repeat(width + 2)}`)}\n`)
    .join("");
}

function listLine(
  ...[id, state, expires, grants, start, name]: readonly [string, string, string, string, string, string]
) {
  const columns = [id.padEnd(28), state.padEnd(18), expires.padEnd(24), grants.padStart(6), start.padEnd(12), name];
  return `${columns.join("  ").trimEnd()}\n`;
}
