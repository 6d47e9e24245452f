import cluster from "node:cluster";
import { type Prepared, prepare } from "../assembly/prepare.ts";
import { type RunningSentinel, startSentinel } from "../sentinel.ts";
import { exitOnCrash } from "../telemetry/crash.ts";
import { openStandardStream } from "../telemetry/line-writer.ts";
import { lowerBackgroundThreads } from "./background-threads.ts";
import { setUpCollector } from "./collector.ts";
import { CommandFailure, type CommandIo, EXIT, type ExitStatus } from "./exit.ts";
import { invalidFiles } from "./invalid-files.ts";
import { onSignals } from "./signals.ts";
import { version } from "./version.ts";

export interface RunOptions {
  /** Where the log goes: standard output unless it is for something else. */
  readonly logTo?: "stdout" | "stderr";
  readonly onListening?: () => void;
  /** True: SIGHUP ends it, as the terminal's end does other programs, and a second signal does nothing more. */
  readonly endsWithTerminal?: boolean;
  /** True: V8 collects garbage as it does in any process (`collector.ts`). */
  readonly plainCollector?: boolean;
}

/**
 * Runs the gateway until SIGTERM or SIGINT, then drains it; SIGHUP reloads. With `workers` above 1 this process holds
 * the workers and the admin listener, and each of them runs this again.
 */
export async function runUntilSignalled(
  configPath: string,
  io: CommandIo,
  options: RunOptions = {},
): Promise<ExitStatus> {
  lowerBackgroundThreads();
  const prepared = await prepare(configPath, io.env);
  if (!prepared.ok) throw invalidFiles(prepared.problems, io);
  if (cluster.isPrimary && prepared.compiled.workers > 1) {
    const { runWithWorkers } = await import("./run-workers.ts");
    return runWithWorkers(configPath, prepared);
  }
  if (cluster.isWorker) {
    const { serve } = await import("./run-worker.ts");
    serve(await start(configPath, prepared, io, options));
    return EXIT.done;
  }
  const endings: Promise<void>[] = [];
  await start(configPath, prepared, io, options, (sentinel) => {
    const reload = options.endsWithTerminal === true ? null : () => void sentinel.reload();
    endings.push(onSignals({ reload, drain: () => sentinel.drain() }));
  });
  options.onListening?.();
  await Promise.all(endings);
  return EXIT.done;
}

async function start(
  configPath: string,
  prepared: Prepared,
  io: CommandIo,
  { logTo = "stdout", plainCollector = false }: RunOptions,
  onListening?: (sentinel: RunningSentinel) => void,
): Promise<RunningSentinel> {
  try {
    const sentinel = await startSentinel(
      {
        configPath,
        env: io.env,
        version: version(),
        admin: cluster.isPrimary,
        ...(logTo === "stderr" && { sink: openStandardStream(2) }),
        ...(onListening !== undefined && { onListening }),
      },
      prepared,
    );
    if (!plainCollector) setUpCollector();
    const { log, redact, flushSync } = sentinel.telemetry;
    exitOnCrash({ log, redact, drain: () => sentinel.drain(), flush: async () => flushSync() });
    return sentinel;
  } catch (error) {
    throw listenFailure(error);
  }
}

const LISTEN_FAILURES: Readonly<Record<string, string>> = {
  EADDRINUSE: "is in use",
  EACCES: "may not be used by this user",
  EADDRNOTAVAIL: "is not this machine's",
  ENOTFOUND: "can not be found",
  EAI_AGAIN: "can not be found now",
};

/** An address that is taken, unknown or may not be used is the operator's to mend, and needs no stack. */
export function listenFailure(error: unknown): unknown {
  const { code = "", address = "", port, hostname } = error as NodeJS.ErrnoException & Address;
  const reason = LISTEN_FAILURES[code];
  if (reason === undefined) return error;
  return new CommandFailure(EXIT.notSo, `The address ${hostname ?? formatAddress(address, port)} ${reason}.`);
}

/** What Node's errors say of where: `hostname` of a name that was looked up, a port of -1 of a socket's path. */
interface Address {
  readonly address?: string;
  readonly port?: number;
  readonly hostname?: string;
}

function formatAddress(address: string, port: number | undefined): string {
  if (port === undefined || port < 0) return `unix:${address}`;
  return address.includes(":") ? `[${address}]:${port}` : `${address}:${port}`;
}
