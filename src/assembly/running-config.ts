import { isDeepStrictEqual } from "node:util";
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

/** `next` as it can run now: what only a restart takes up stays as it is, so that later reloads compare with the truth. */
export function withRunning(next: Prepared, running: Config): Prepared {
  const { limits, keys } = next.config;
  const config: Config = {
    ...next.config,
    listen: running.listen,
    admin: running.admin,
    workers: running.workers,
    limits: { ...running.limits, headerLines: limits.headerLines },
    keys: { ...keys, source: running.keys.source, cache: running.keys.cache },
    log: { ...next.config.log, format: running.log.format },
  };
  // A certificate may be renewed, but the listener stays what it is: plain or TLS.
  if (running.tls === undefined) delete (config as { tls?: unknown }).tls;
  return { ...next, config: { ...config, ...(running.redis !== undefined && { redis: running.redis }) } };
}
