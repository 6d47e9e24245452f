import type { Config } from "../config/schema.ts";
import type { KeyStore } from "../keys/source.ts";
import { CommandFailure, type CommandIo, EXIT } from "./exit.ts";
import { invalidFiles } from "./invalid-files.ts";

/** The store that `sentinel keys` works on. */
export interface OpenedStore {
  readonly store: KeyStore;
  readonly kind: "file" | "redis" | "http";
  /** What people call it: the keyring's path, or Redis. */
  readonly name: string;
  /** What secrets start with. */
  readonly keyPrefix: string;
  /** Where clients reach the gateway, for an example to try. */
  readonly gatewayUrl: string;
}

export type OpenStore = (configFile: string | undefined, io: CommandIo) => Promise<OpenedStore>;

/** Opens what the configuration names. Ends in a `CommandFailure` when it is not valid, or names nothing to manage. */
export const openConfiguredStore: OpenStore = async (configFile, io) => {
  const { loadConfig, resolveConfigPath } = await import("../config/load.ts");
  const loaded = await loadConfig(resolveConfigPath(configFile, io.env, io.cwd), io.env);
  if (!loaded.ok) throw invalidFiles(loaded.problems, io);
  const { config } = loaded;
  const { source, prefix } = config.keys;
  const common = { kind: source.type, keyPrefix: prefix, gatewayUrl: gatewayUrl(config) };
  if (source.type === "file") {
    const { createKeyringStore } = await import("../keys/keyring-store.ts");
    return { ...common, name: source.path, store: createKeyringStore({ path: source.path, prefix, now: Date.now }) };
  }
  return { ...common, name: "Redis", store: await openRedisStore(config) };
};

async function openRedisStore(config: Config): Promise<KeyStore> {
  const { redis, keys } = config;
  if (redis === undefined) {
    throw new CommandFailure(
      EXIT.usage,
      keys.source.type === "http"
        ? "The keys live in the key service, and there is no Redis to tell other instances through."
        : "keys.source is redis, but the configuration has no redis section.",
    );
  }
  const { connectRedis } = await import("../keys/redis-connection.ts");
  const { createRedisLayout } = await import("../keys/redis-layout.ts");
  const { createRedisStore } = await import("../keys/redis-store.ts");
  const { forgottenMsOf } = await import("../keys/shared-source.ts");
  // What it would say, the command says when it fails.
  const connection = await connectRedis(redis, { log: () => {}, mono: () => performance.now() });
  return createRedisStore(connection, {
    layout: createRedisLayout(redis.keyPrefix),
    keyPrefix: keys.prefix,
    records: keys.source.type === "http" ? "service" : "redis",
    forgottenMs: forgottenMsOf(keys.source.type === "http" ? keys.source.timeout : 0),
    now: Date.now,
  });
}

/** `0.0.0.0` is where a server listens, not where a client connects. */
function gatewayUrl({ listen, tls }: Config): string {
  const scheme = tls === undefined ? "http" : "https";
  const port = listen.slice(listen.lastIndexOf(":") + 1);
  const host = listen.slice(0, listen.lastIndexOf(":"));
  return `${scheme}://${/^(?:0\.0\.0\.0|\[::\]|::|\*)?$/.test(host) ? "localhost" : host}:${port}`;
}
