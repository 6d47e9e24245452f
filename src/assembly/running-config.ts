import { isDeepStrictEqual } from "node:util";
import { readKeyring } from "../config/check.ts";
import type { Problem } from "../config/problem.ts";
import type { Config } from "../config/schema.ts";
import type { Prepared } from "./prepare.ts";

/** Members that sockets, processes and connections were made from: a reload says so and keeps what runs. */
const AT_START: readonly { readonly name: string; readonly of: (config: Config) => unknown }[] = [
  { name: "listen", of: (config) => config.listen },
  { name: "admin.listen", of: (config) => config.admin.listen },
  { name: "workers", of: (config) => config.workers },
  { name: "tls", of: (config) => config.tls === undefined },
  { name: "limits", of: ({ limits: { headerLines: _lines, ...limits } }) => limits },
  { name: "keys.source", of: (config) => config.keys.source },
  { name: "keys.cache", of: (config) => config.keys.cache },
  { name: "redis", of: (config) => config.redis },
  { name: "log.format", of: (config) => config.log.format },
];

/** The members in which `next` differs from what runs and that only a restart takes up. */
export function restartMembers(running: Config, next: Config): string[] {
  return AT_START.filter(({ of }) => !isDeepStrictEqual(of(running), of(next))).map(({ name }) => name);
}

/**
 * `next` as it can run now: what only a restart takes up stays as it is, so that later reloads compare with the truth. The
 * keyring of a source that waits for the restart is left out.
 */
export function withRunning(next: Prepared, running: Config): Prepared {
  const { redis: _redis, tls, limits, keys, ...others } = next.config;
  const config: Config = {
    ...others,
    listen: running.listen,
    admin: running.admin,
    workers: running.workers,
    limits: { ...running.limits, headerLines: limits.headerLines },
    keys: { ...keys, source: running.keys.source, cache: running.keys.cache },
    log: { ...others.log, format: running.log.format },
    // A certificate may be renewed, but the listener stays what it is: plain or TLS.
    ...(running.tls !== undefined && { tls: tls ?? running.tls }),
    ...(running.redis !== undefined && { redis: running.redis }),
  };
  return { ...next, config, keyring: isDeepStrictEqual(keys.source, running.keys.source) ? next.keyring : null };
}

/**
 * `running` with the keyring in force, where the configuration names another source by now: it is read and watched on, for
 * what is taken out of it is revoked. With mistakes in it, the keyring is null: the last good one stays.
 */
export async function withRunningKeyring(
  running: Prepared,
): Promise<{ readonly prepared: Prepared; readonly problems: readonly Problem[] }> {
  const { source } = running.config.keys;
  if (running.keyring !== null || source.type !== "file") return { prepared: running, problems: [] };
  const files = new Map(running.files);
  const { keyring, problems } = await readKeyring(source.path, files);
  return { prepared: { ...running, keyring, files }, problems };
}
