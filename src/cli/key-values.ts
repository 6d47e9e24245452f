import { DURATION_PATTERN, parseDuration } from "../config/units.ts";
import { LAST_INSTANT, parseInstant } from "../keys/instant.ts";
import { CLEARABLE_MEMBERS } from "../keys/key-fields.ts";
import type { EpochMs } from "../keys/root-key.ts";
import type { ClearableMember, KeyFields } from "../keys/source.ts";
import { CommandFailure, EXIT } from "./exit.ts";
import type { KeysOptions } from "./keys.ts";

/** The record's members that the flags give; those that were not given are absent. Ends in a `CommandFailure`, exit 2. */
export function readFields(options: KeysOptions, now: EpochMs): Partial<KeyFields> {
  const { name, workspace, permission, role, expires, externalId, meta } = options;
  return {
    ...(name !== undefined && { name }),
    ...(workspace !== undefined && { workspaceId: workspace }),
    ...(permission !== undefined && { permissions: permission }),
    ...(role !== undefined && { roles: role }),
    ...(expires !== undefined && { expiresAt: readExpiry(expires, now) }),
    ...(externalId !== undefined && { externalId }),
    ...(meta !== undefined && { meta: readMeta(meta) }),
  };
}

export function readClear(names: readonly string[] = []): readonly ClearableMember[] {
  return names.map((name) => {
    const member = CLEARABLE_MEMBERS.find((known) => known === name);
    return member ?? refuse(`--clear takes ${CLEARABLE_MEMBERS.join(", ")}; not '${name}'.`);
  });
}

/** Milliseconds. Days are taken here, where people think of expiries; the configuration has none. */
export function readDuration(text: string, flag: string): number {
  const days = /^(\d{1,9})d$/.exec(text);
  const milliseconds = days === null ? parseDuration(text) : Number(days[1]) * DAY_MS;
  return milliseconds ?? refuse(`${flag} takes a duration such as 30s, 10m, 12h or 7d; not '${text}'.`);
}

export function looksLikeDuration(text: string): boolean {
  return DURATION_PATTERN.test(text) || /^\d{1,9}d$/.test(text);
}

const DAY_MS = 86_400_000;

function readExpiry(text: string, now: EpochMs): EpochMs {
  const instant = looksLikeDuration(text) ? now + readDuration(text, "--expires") : parseInstant(text);
  if (instant === null || instant > LAST_INSTANT) {
    return refuse(`--expires takes a duration such as 12h or 30d, or a date such as 2027-06-01; not '${text}'.`);
  }
  return instant > now ? instant : refuse("--expires is not in the future.");
}

function readMeta(text: string): KeyFields["meta"] {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    // Told below: what it should have been says more than where the parser stopped.
    value = null;
  }
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as KeyFields["meta"];
  return refuse(`--meta takes a JSON object, as in '{"plan":"pro"}'.`);
}

function refuse(message: string): never {
  throw new CommandFailure(EXIT.usage, message);
}
