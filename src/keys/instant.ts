import type { EpochMs } from "./root-key.ts";

const INSTANT = /^(\d{4})-(\d{2})-(\d{2})(?:T(\d{2}):(\d{2})(?::(\d{2})(?:\.(\d{1,9}))?)?(Z|([+-])(\d{2}):(\d{2})))?$/;

/**
 * An ISO 8601 instant: `2027-06-01` (midnight UTC) or `2027-06-01T00:00:00Z`, or with an offset. Null for anything
 * else: a day that does not exist, or a time that does not say its zone, which would mean another instant on every host.
 */
export function parseInstant(text: string): EpochMs | null {
  const match = INSTANT.exec(text);
  if (match === null) return null;
  const part = (index: number): number => Number(match[index] ?? 0);
  const milliseconds = Math.trunc(Number(`0.${match[7] ?? "0"}`) * 1000);
  const [hour, minute, second] = [part(4), part(5), part(6)];
  if (hour > 23 || minute > 59 || second > 59 || part(10) > 23 || part(11) > 59) return null;
  const day = Date.UTC(part(1), part(2) - 1, part(3));
  // A day that does not exist (30 February) comes back as another one.
  if (!new Date(day).toISOString().startsWith(text.slice(0, 10))) return null;
  const offsetMinutes = (match[9] === "-" ? -1 : 1) * (part(10) * 60 + part(11));
  return day + ((hour * 60 + minute - offsetMinutes) * 60 + second) * 1000 + milliseconds;
}

/** The last instant that a date can name (ECMA-262, time range). */
export const LAST_INSTANT: EpochMs = 8.64e15;

/** `2027-06-01T00:00:00Z`; milliseconds only where there are any. */
export function formatInstant(instant: EpochMs): string {
  return new Date(instant).toISOString().replace(".000Z", "Z");
}
