import { createHash } from "node:crypto";
import { stat as inspect, readFile as read, realpath as resolve } from "node:fs";
import { promisify } from "node:util";

/*
 * The promises of node:fs that a start needs. node:fs/promises has the same ones, and loading it takes 1 ms of the start.
 */

export const readFile = promisify(read);
export const realpath = promisify(resolve);
export const stat = promisify(inspect);

/** What was found at each name, all names absolute: what `markRead` or `markUnreadable` says. Null: it was not read. */
export type FileMarks = ReadonlyMap<string, string | null>;

/** A mark that is the same for the same contents only. */
export function markRead(contents: Buffer): string {
  return createHash("sha256").update(contents).digest("base64");
}

/** A mark of a file that can not be read, by what the system said. No contents have it. */
export function markUnreadable(error: unknown): string {
  return `unreadable: ${(error as NodeJS.ErrnoException).code}`;
}
