import type { Config } from "../config/schema.ts";
import { type Exchange, gatewayMs, upstreamMs } from "../exchange.ts";
import { CATALOGUE, formatFaultCode } from "../faults/catalogue.ts";
import { toAsciiJson } from "../octets.ts";
import { inOnePiece } from "../one-piece.ts";
import type { LineWriter } from "./line-writer.ts";
import { describeError } from "./logger.ts";
import { type Metrics, OTHER } from "./metrics.ts";
import type { Redact } from "./redact.ts";

/** Called once for each exchange that is over: counts it and logs it. */
export type RecordExchange = (exchange: Exchange) => void;

export interface RecordOptions {
  readonly metrics: Metrics;
  readonly writer: LineWriter;
  readonly log: Pick<Config["log"], "level" | "sampleSuccess">;
  readonly redact: Redact;
  /** Wall clock, in milliseconds. */
  readonly now?: () => number;
  /** 0 to 1, for sampling. */
  readonly random?: () => number;
}

/** pino's numbers, so that both kinds of lines read alike. */
const LEVELS = { trace: 10, debug: 20, info: 30, warn: 40, error: 50, fatal: 60, silent: 100 } as const;

/**
 * Makes the recorder: metrics, and one JSON line with the members of contract section 9, made by hand since it is the
 * dearest step of a request otherwise. Levels are the fault catalogue's; a line below `log.level` is not written.
 */
export function createRecorder(options: RecordOptions): RecordExchange {
  const { metrics, writer, redact, log } = options;
  const now = options.now ?? Date.now;
  const random = options.random ?? Math.random;
  const least = LEVELS[log.level];
  return (exchange) => {
    metrics.requestEnded(exchange);
    const level = LEVELS[exchange.fault === null ? "info" : CATALOGUE[exchange.fault].level];
    if (level < least) return;
    if (log.sampleSuccess < 1 && isSuccess(exchange) && random() >= log.sampleSuccess) return;
    writer.write(formatRecord(exchange, level, now(), redact));
  };
}

/** A 200 that broke off half-way is none: it may be the only line that says so. */
function isSuccess({ status, fault }: Exchange): boolean {
  return fault === null && status >= 200 && status < 400;
}

/** The line of one exchange, with its line end. Names with nothing to say are null; `cause` is there when one is known. */
export function formatRecord(exchange: Exchange, level: number, time: number, redact: Redact): string {
  const { fault, head } = exchange;
  const upstream = upstreamMs(exchange);
  const method = head?.method ?? exchange.client.method ?? OTHER;
  const line =
    `${beginning(level, time)}${exchange.requestId}${routeAndMethod(exchange.route?.name ?? null, method)}` +
    `${head === null ? "null" : text(redact(head.target.path))}${statusAndBytesIn(exchange)}${exchange.bytesOut}` +
    `,"durationMs":${milliseconds(exchange.endedAt - exchange.startedAt)}` +
    `,"upstreamMs":${upstream === null ? "null" : milliseconds(upstream)},"gatewayMs":${milliseconds(gatewayMs(exchange))}` +
    `${verdictAndCode(exchange.verdict, fault)}${text(exchange.keyId)},"clientIp":${text(exchange.peer.clientIp)}` +
    `,"upstream":${name(exchange.upstream)}`;
  if (exchange.cause === undefined) return `${line}}\n`;
  return `${line},"cause":${text(describeError(exchange.cause, redact))}}\n`;
}

/** Everything but what JSON must escape or what is not plain ASCII. */
const PLAIN = /^[ !#-[\]-~]*$/;

function text(value: string | null | undefined): string {
  if (value === null || value === undefined) return "null";
  return PLAIN.test(value) ? `"${value}"` : toAsciiJson(JSON.stringify(value));
}

/** `text` of what is one of a few: a name of the configuration or a method that Node's parser knows. */
function name(value: string | null): string {
  if (value === null) return "null";
  let known = names.get(value);
  if (known === undefined) {
    known = inOnePiece(text(value));
    if (names.size < NAMES_MAX) names.set(value, known);
  }
  return known;
}

const names = new Map<string, string>();
/** Far more than a configuration has; a reload may bring others. */
const NAMES_MAX = 100_000;

/** Three decimals: microseconds. Made of two small whole numbers, since a double's shortest form is dear: `12`, `0.5`. */
function milliseconds(value: number): string {
  const micros = Math.max(0, Math.round(value * 1000));
  const whole = Math.floor(micros / 1000);
  return whole + (FRACTIONS[micros - whole * 1000] ?? "");
}

/**
 * `{"level":30,"time":1700000000123,"requestId":"`. Thirteen digits cost as much as all names of a line together; the
 * first ten stay the same for a second.
 */
function beginning(level: number, time: number): string {
  const second = Math.floor(time / 1000);
  if (second !== lastSecond || level !== lastLevel) {
    lastSecond = second;
    lastLevel = level;
    lastBeginning = inOnePiece(`{"level":${level},"time":${second}`);
  }
  return lastBeginning + afterSecond(Math.floor(time) - second * 1000);
}

let lastSecond = -1;
let lastLevel = -1;
let lastBeginning = "";

/** `","route":"read-api","method":"GET","path":`. Of methods Node's parser knows a few dozen. */
const routeAndMethod = onceForPair(
  (route: string | null, method: string) => `","route":${text(route)},"method":${text(method)},"path":`,
);

/** `,"status":200,"bytesIn":0,"bytesOut":`. */
function statusAndBytesIn({ status, bytesIn }: Exchange): string {
  if (bytesIn > 0 || status > 599) return `,"status":${status},"bytesIn":${bytesIn},"bytesOut":`;
  statuses[status] ??= inOnePiece(`,"status":${status},"bytesIn":0,"bytesOut":`);
  return statuses[status];
}

/** By status, of requests without a body. */
const statuses: (string | undefined)[] = new Array(600).fill(undefined);

/** `,"verdict":"allowed","code":null,"keyId":`. */
const verdictAndCode = onceForPair((verdict: Exchange["verdict"], code: Exchange["fault"]) => {
  const said = verdict === null ? "null" : `"${verdict}"`;
  return `,"verdict":${said},"code":${code === null ? "null" : `"${formatFaultCode(code)}"`},"keyId":`;
});

/** What `make` gives for two values, each one of a few: made once for a pair. */
function onceForPair<A, B>(make: (a: A, b: B) => string): (a: A, b: B) => string {
  const known = new Map<A, Map<B, string>>();
  return (a, b) => {
    let ofA = known.get(a);
    if (ofA === undefined) {
      ofA = new Map();
      if (known.size < NAMES_MAX) known.set(a, ofA);
    }
    let made = ofA.get(b);
    if (made === undefined) {
      made = inOnePiece(make(a, b));
      ofA.set(b, made);
    }
    return made;
  };
}

const THOUSANDTHS: readonly string[] = Array.from({ length: 1000 }, (_, at) => String(at).padStart(3, "0"));

/** `123,"requestId":"`: the last three digits of a time, and what follows it. */
function afterSecond(millisecond: number): string {
  afterSeconds[millisecond] ??= inOnePiece(`${THOUSANDTHS[millisecond]},"requestId":"`);
  return afterSeconds[millisecond];
}

/** By millisecond, made when it is first needed: a start has no time for a thousand of them. */
const afterSeconds: (string | undefined)[] = new Array(1000).fill(undefined);

const FRACTIONS: readonly string[] = Array.from({ length: 1000 }, (_, micros) =>
  micros === 0 ? "" : `.${(THOUSANDTHS[micros] ?? "").replace(/0+$/, "")}`,
);
