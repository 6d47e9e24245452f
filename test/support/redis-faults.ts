import { encodeRecord } from "../../src/keys/record-codec.ts";
import { createRedisLayout } from "../../src/keys/redis-layout.ts";
import { hashOf, recordOf } from "./key-parts.ts";
import type { Shim, TestRedis } from "./redis.ts";

const layout = createRedisLayout("sentinel:");

/** What can be wrong with a Redis, how it comes about, and how it ends. */
export interface FaultCase {
  readonly name: string;
  /** Whether records can be read all the same. */
  readonly reads: boolean;
  /** Why a look-up fails, as the log of a request says. */
  readonly cause: RegExp;
  /** ... and the line that says that Redis is down. */
  readonly down: RegExp;
  inject(server: TestRedis, shim: Shim): unknown;
  heal(server: TestRedis, shim: Shim): unknown;
}

const byShim = (fault: Parameters<Shim["set"]>[0]) => ({
  inject: (_server: TestRedis, shim: Shim) => shim.set(fault),
  heal: (_server: TestRedis, shim: Shim) => shim.set({ kind: "none" }),
});

const OUT_OF_REACH = /Redis is out of reach/;
/** There is no such line. */
const NEVER = /(?!)/;

export const FAULTS: readonly FaultCase[] = [
  {
    name: "down",
    reads: false,
    cause: OUT_OF_REACH,
    down: /^(not connected|ECONNRESET|ECONNREFUSED|timeout)$/,
    inject: (server) => server.kill(),
    heal: async (server) => {
      await server.restart();
      await seedRecords(server);
    },
  },
  {
    name: "frozen",
    reads: false,
    cause: OUT_OF_REACH,
    down: /^timeout$/,
    inject: (server) => server.freeze(),
    heal: (server) => server.thaw(),
  },
  { name: "blackholed", reads: false, cause: OUT_OF_REACH, down: /^timeout$/, ...byShim({ kind: "freeze" }) },
  {
    name: "refusing",
    reads: false,
    cause: OUT_OF_REACH,
    down: /^(not connected|ECONNRESET|ECONNREFUSED|timeout)$/,
    inject: (_server, shim) => {
      shim.set({ kind: "refuse" });
      shim.cut();
    },
    heal: (_server, shim) => shim.set({ kind: "none" }),
  },
  {
    name: "far too slow",
    reads: false,
    cause: OUT_OF_REACH,
    down: /^timeout$/,
    ...byShim({ kind: "latency", ms: 1500 }),
  },
  { name: "slow", reads: true, cause: OUT_OF_REACH, down: NEVER, ...byShim({ kind: "latency", ms: 30 }) },
  { name: "cut into single bytes", reads: true, cause: OUT_OF_REACH, down: NEVER, ...byShim({ kind: "slice" }) },
  {
    name: "reset in each answer",
    reads: false,
    cause: OUT_OF_REACH,
    down: /^(not connected|ECONNRESET|ECONNREFUSED|timeout)$/,
    ...byShim({ kind: "reset" }),
  },
  { name: "garbage", reads: false, cause: OUT_OF_REACH, down: /^not Redis$/, ...byShim({ kind: "garbage" }) },
  {
    name: "read-only",
    reads: true,
    cause: OUT_OF_REACH,
    down: NEVER,
    inject: (server) => server.run("REPLICAOF", "127.0.0.1", "1"),
    heal: (server) => server.run("REPLICAOF", "NO", "ONE"),
  },
  {
    name: "out of memory",
    reads: true,
    cause: OUT_OF_REACH,
    down: NEVER,
    inject: (server) => server.run("CONFIG", "SET", "maxmemory", "1mb"),
    heal: (server) => server.run("CONFIG", "SET", "maxmemory", "0"),
  },
  {
    name: "a wrong password",
    reads: false,
    cause: OUT_OF_REACH,
    down: /^(NOAUTH|not connected|timeout)$/,
    inject: async (server, shim) => {
      await server.run("CONFIG", "SET", "requirepass", "another");
      shim.cut();
    },
    heal: (server) => server.run("-a", "another", "--no-auth-warning", "CONFIG", "SET", "requirepass", ""),
  },
  {
    name: "no permission to read",
    reads: false,
    cause: /may not run GETRANGE, or not on that key \(NOPERM\)/,
    down: NEVER,
    inject: (server) => server.run("ACL", "SETUSER", "default", "-getrange"),
    heal: (server) => server.run("ACL", "SETUSER", "default", "+getrange"),
  },
  {
    name: "loading",
    reads: false,
    cause: OUT_OF_REACH,
    down: /^(LOADING|not connected|timeout)$/,
    inject: async (server) => {
      await server.run("SAVE");
      // Each of the keys takes 50 ms to load, twenty seconds in all: none of these tests is to see the end of it.
      await server.restartLoading(["--key-load-delay", "50000", "--loading-process-events-interval-bytes", "1024"]);
    },
    heal: async (server) => {
      await server.restart();
      await seedRecords(server);
    },
  },
];

/** The state of Redis' connection changes with these. With the others Redis answers, if unkindly. */
export const staysUp = ({ name, reads }: FaultCase) => reads || name === "no permission to read";

/** What a busy machine may add to any wait. */
export const SLACK_MS = 5000;

/** Milliseconds. Where Redis answers, no answer is to be late because the machine is busy: that is another fault. */
export const commandTimeoutOf = (fault: FaultCase) => (staysUp(fault) ? 5000 : COMMAND_TIMEOUT_MS);
export const COMMAND_TIMEOUT_MS = 400;

/** How many records `seedRecords` writes beside the one of the secret `warm`: `cold0`, `cold1` ... */
export const COLD = 400;

export async function seedRecords(server: TestRedis): Promise<void> {
  const secrets = ["warm", ...Array.from({ length: COLD }, (_, index) => `cold${index}`)];
  const pairs = secrets.flatMap((secret) => [layout.key(hashOf(secret)), encodeRecord(recordOf(secret))]);
  await server.run("MSET", ...pairs);
}
