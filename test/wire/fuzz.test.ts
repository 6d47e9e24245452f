import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { checkEnvelope, type Finding } from "../support/oracles.ts";
import { TimeoutError } from "../support/raw-client.ts";
import { auth, checkCredentials, Rig } from "../support/rig.ts";
import { formatFindings, SMUGGLED } from "./wire.ts";

/**
 * A grammar-aware fuzzer: requests are put together out of good and bad parts, and then bent. The same seed makes the
 * same cases. By hand: `FUZZ_CASES=1000000 FUZZ_SEED=7 npx vitest run test/wire/fuzz.test.ts`. What it finds becomes
 * a row of FOUND below.
 */
const CASES = Number(process.env.FUZZ_CASES ?? 10_000);
const SEED = Number(process.env.FUZZ_SEED ?? 20_260_419);
const BATCH = 500;
const AT_ONCE = 125;

/** Cases that once found something, byte for byte. */
const FOUND: readonly (readonly [what: string, bytes: string])[] = [];

/** Mulberry32: small, seeded, good enough to pick parts with. */
class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let mixed = this.#state;
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  }

  below(limit: number): number {
    return Math.floor(this.next() * limit);
  }

  chance(probability: number): boolean {
    return this.next() < probability;
  }

  pick<T>(items: readonly T[]): T {
    return items[this.below(items.length)] as T;
  }
}

const METHODS = ["GET", "POST", "HEAD", "DELETE", "OPTIONS", "PUT", "PATCH", "TRACE", "CONNECT", "QUERY", "get", "PRI"];
const TARGETS = [
  "/any",
  "/any/x?y=1",
  "/public",
  "/admin",
  "/write",
  "/only",
  "/small",
  "/ws",
  "/v2/apis/api_1",
  "/v2/keys.createKey",
  "/strip/any",
  "/slash/a%2fb",
  "/semi/a;b",
  "//admin",
  "/public/../admin",
  "/public/%2e%2e/admin",
  "/%61dmin",
  "http://gw/any",
  "http://gw//admin",
  "http://other/any",
  "*",
  "gw:80",
  "/any#x",
  "/any\\x",
  "/any%00",
  "/any%",
  "/caf\xc3\xa9",
];
const VERSIONS = [
  "HTTP/1.1",
  "HTTP/1.1",
  "HTTP/1.1",
  "HTTP/1.1",
  "HTTP/1.0",
  "HTTP/2.0",
  "HTTP/1.2",
  "http/1.1",
  "HTTP/1.1 ",
];
const HOSTS = [
  "Host: gw",
  "Host: gw",
  "Host: gw",
  "Host: gw:80",
  "Host:gw",
  "Host: ",
  "Host: a, b",
  "host: gw",
  "Host : gw",
  "X: 1",
];
const FIELDS = [
  "Connection: close",
  "Connection: keep-alive",
  "Connection: content-length",
  "Connection: transfer-encoding",
  "Connection: authorization",
  "Connection: x-request-id",
  "Connection: x-custom, close",
  "Connection: Upgrade",
  "Upgrade: websocket",
  "Upgrade: h2c",
  "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
  "Sec-WebSocket-Version: 13",
  "Expect: 100-continue",
  "Expect: 200-ok",
  "TE: trailers",
  "Trailer: X",
  "X-Custom: 1",
  "X-Unkey-Principal: {}",
  "X_Unkey_Principal: {}",
  "X-Request-Id: req_aaaaaaaaaaaaaaa",
  "X-Forwarded-For: 1.2.3.4",
  "Via: 1.1 a",
  "Content-Type: application/json",
  "Cookie: a=b",
  "Cookie: c=d",
  "Keep-Alive: timeout=5",
  "Max-Forwards: 0",
  "Content_Length: 5",
  "Transfer_Encoding: chunked",
  "X: a\r\n folded",
  "__proto__: x",
];
const LENGTHS = (length: number) => [
  `${length}`,
  `${length}`,
  `${length}`,
  `${length}`,
  `+${length}`,
  `0${length}`,
  `${length} `,
  `${length}, ${length}`,
  "-1",
  "",
  `0x${length.toString(16)}`,
  `${length + 5}`,
  `${Math.max(0, length - 5)}`,
];
const CODINGS = [
  "chunked",
  "chunked",
  "chunked",
  "Chunked",
  "identity",
  "chunked, chunked",
  "gzip, chunked",
  "xchunked",
  " chunked",
  "chunked;x",
  "\x0bchunked",
];
const BODIES = ["", "abc", SMUGGLED, '{"apiId":"api_1"}', "0\r\n\r\n", "x".repeat(2000)];
const INSERTS = [
  "\r",
  "\n",
  "\r\n",
  "\0",
  " ",
  "\t",
  ":",
  ";",
  ",",
  "\x0b",
  "\x7f",
  "\x80",
  "\xff",
  "%",
  "#",
  "\\",
  "0",
  "\r\n\r\n",
];

function makeRequest(random: Random): string {
  const lines = [
    `${random.pick(METHODS.slice(0, random.chance(0.8) ? 5 : METHODS.length))} ${makeTarget(random)} ${random.pick(VERSIONS)}`,
  ];
  lines.push(random.chance(0.9) ? "Host: gw" : random.pick(HOSTS));
  if (random.chance(0.75))
    lines.push(auth(random.pick(["OK", "OK", "OK", "RO", "UNKNOWN", "EXPIRED", "DISABLED"] as const)).trimEnd());
  if (random.chance(0.05)) lines.push("Authorization: Basic eA==");
  for (let count = random.below(4); count > 0; count -= 1) if (random.chance(0.6)) lines.push(random.pick(FIELDS));
  const body = random.pick(BODIES);
  let coded = "";
  const framing = random.below(5);
  if (framing === 0 || framing === 4) {
    lines.push(`Content-Length: ${random.chance(0.8) ? body.length : random.pick(LENGTHS(body.length))}`);
    coded = body;
  }
  if (framing === 1 || framing === 4 - random.below(2)) {
    lines.push(`Transfer-Encoding: ${random.chance(0.8) ? "chunked" : random.pick(CODINGS)}`);
    coded = makeChunks(random, body);
  }
  if (random.chance(0.3)) shuffleFields(random, lines);
  return `${lines.join("\r\n")}\r\n\r\n${coded}`;
}

function makeTarget(random: Random): string {
  return random.chance(0.7) ? random.pick(TARGETS.slice(0, 13)) : random.pick(TARGETS);
}

function makeChunks(random: Random, body: string): string {
  const extension = random.chance(0.1) ? random.pick([";a=b", ";", ";a\n", ';a="\r\n"', " ;x"]) : "";
  const size = random.chance(0.9)
    ? body.length.toString(16)
    : random.pick(["0x3", "+3", "3 ", "ffffffffffffffffff", "-1", ""]);
  const trailer = random.chance(0.1)
    ? random.pick([`${auth()}`, "X: 1\r\n", "Content-Length: 5\r\n", "X: a\r\n b\r\n"])
    : "";
  return body === "" ? `0${extension}\r\n${trailer}\r\n` : `${size}${extension}\r\n${body}\r\n0\r\n${trailer}\r\n`;
}

function shuffleFields(random: Random, lines: string[]): void {
  for (let at = lines.length - 1; at > 1; at -= 1) {
    const other = 1 + random.below(at);
    [lines[at], lines[other]] = [lines[other] as string, lines[at] as string];
  }
}

/** Bends the bytes: at most three times. */
function mutate(random: Random, bytes: string): string {
  let bent = bytes;
  for (let count = random.below(4); count > 0; count -= 1) {
    const at = random.below(bent.length + 1);
    const head = bent.indexOf("\r\n\r\n") + 2;
    const near = random.chance(0.8) && head > 2 ? random.below(head) : at;
    const lines = bent.slice(0, head).split("\r\n");
    const line = lines[random.below(lines.length)] ?? "";
    switch (random.below(8)) {
      case 0:
        bent = bent.slice(0, near) + random.pick(INSERTS) + bent.slice(near);
        break;
      case 1:
        bent = bent.slice(0, near) + bent.slice(near + 1 + random.below(3));
        break;
      case 2:
        bent = bent.slice(0, near) + String.fromCharCode(random.below(256)) + bent.slice(near + 1);
        break;
      case 3:
        bent = bent.replace(`${line}\r\n`, `${line}\r\n${line}\r\n`);
        break;
      case 4:
        bent = bent.replace("\r\n", random.pick(["\n", "\r", "\r\r\n", "\n\r"]));
        break;
      case 5:
        bent = bent.replace(line, line.replaceAll("-", random.pick(["_", ".", "--"])));
        break;
      case 6:
        bent = bent.replace(line, random.chance(0.5) ? line.toUpperCase() : line.toLowerCase());
        break;
      case 7:
        bent = bent.replace(": ", random.pick([" : ", ":", ":\t", ":\r\n ", "\t: ", ":\x0b"]));
        break;
    }
  }
  return bent;
}

/** One connection's worth of bytes: one request or some, pipelined. */
function makeCase(random: Random): string {
  const count = random.chance(0.6) ? 1 : 2 + random.below(3);
  let bytes = "";
  for (let index = 0; index < count; index += 1) bytes += mutate(random, makeRequest(random));
  return random.chance(0.05) ? bytes.slice(0, random.below(bytes.length)) : bytes;
}

/** Sends one case, then ends our side, and reads until the gateway has ended its own: O4 and O6. */
async function runCase(rig: Rig, bytes: string): Promise<Finding[]> {
  const client = await rig.connect();
  try {
    await client.write(bytes);
    // Behind it a request that ends the connection, where the case left it in order.
    await client.write("GET /public/after HTTP/1.1\r\nHost: gw\r\nConnection: close\r\n\r\n");
    // A case that swallowed it waits for more: then our side ends. Not at once, since a client that ends has left.
    await client.closed(300).catch(() => client.halfClose());
    await client.closed(8000);
    return readAnswers(client.received);
  } catch (error) {
    return [{ kind: error instanceof TimeoutError ? "hang" : "status", what: String(error) }];
  } finally {
    client.destroy();
  }
}

/** Every gateway-made error in what was received; which answer belongs to a HEAD is not known, so bodies are searched. */
function readAnswers(received: Buffer): Finding[] {
  const text = received.toString("latin1");
  const findings: Finding[] = [];
  for (const match of text.matchAll(
    /HTTP\/1\.1 ([45]\d\d) [^\r\n]*\r\n((?:[^\r\n]+\r\n)+)\r\n(\{"meta[^\n]*?\}\})?/g,
  )) {
    const [, status = "0", block = "", body = ""] = match;
    const headers = block
      .trimEnd()
      .split("\r\n")
      .map((line): [string, string] => [line.slice(0, line.indexOf(":")), line.slice(line.indexOf(":") + 1).trim()]);
    const answer = {
      status: Number(status),
      reason: "",
      version: "HTTP/1.1",
      headers,
      body: Buffer.from(body, "latin1"),
      trailers: [],
      interim: [],
      framing: "length",
    } as const;
    findings.push(...checkEnvelope(answer, body === "" ? "HEAD" : "GET"));
  }
  return findings;
}

async function runBatch(rig: Rig, cases: readonly string[]): Promise<Finding[]> {
  rig.upstream.reset();
  const findings: Finding[] = [];
  const waiting = [...cases];
  const worker = async () => {
    for (let bytes = waiting.pop(); bytes !== undefined; bytes = waiting.pop()) {
      const found = await runCase(rig, bytes);
      findings.push(...found.map(({ kind, what }) => ({ kind, what: `${what}\n  case ${JSON.stringify(bytes)}` })));
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
  if (!rig.gateway.alive) return [...findings, { kind: "crash", what: "the process ended" }];
  findings.push(...(await rig.settle()));
  // What a rewrite strips is judged by the routes' own tests.
  const guarded = rig.upstream.requests().filter((request) => !request.target.startsWith("/after"));
  findings.push(...checkCredentials(guarded));
  return findings;
}

/** Which case of a batch is to blame, each tried alone. */
async function blame(rig: Rig, cases: readonly string[]): Promise<string> {
  for (const bytes of cases) {
    const findings = await runBatch(rig, [bytes]);
    if (findings.length > 0) return `${formatFindings(findings)}\nby ${JSON.stringify(bytes)}`;
  }
  return "no case alone does it";
}

describe("a wire fuzzer", () => {
  let rig: Rig;
  beforeAll(async () => {
    rig = await Rig.start({ limits: { headerTimeout: "2s", requestTimeout: "3s" } });
  });
  afterAll(() => rig?.stop());

  it.each(FOUND)("061 found %s", async (_, bytes) => {
    expect(formatFindings(await runBatch(rig, [bytes]))).toBe("");
  });

  it(
    `061 finds nothing in ${CASES} cases of seed ${SEED}`,
    async () => {
      const random = new Random(SEED);
      const statuses = new Map<unknown, number>();
      for (let done = 0; done < CASES; done += BATCH) {
        const cases = Array.from({ length: Math.min(BATCH, CASES - done) }, () => makeCase(random));
        const findings = await runBatch(rig, cases);
        if (findings.length === 0) continue;
        const culprit = rig.gateway.alive
          ? await blame(rig, cases)
          : cases.map((each) => JSON.stringify(each)).join("\n");
        expect.fail(`after ${done} cases:\n${formatFindings(findings.slice(0, 10))}\n${culprit}`);
      }
      for (const record of rig.gateway.logs()) statuses.set(record.status, (statuses.get(record.status) ?? 0) + 1);
      // A fuzzer that is refused at the door tests the door only.
      expect(statuses.get(200)).toBeGreaterThan(CASES / 20);
      expect(statuses.get(400)).toBeGreaterThan(CASES / 20);
      expect(await rig.socketsLeft()).toBeLessThanOrEqual(0);
    },
    Math.max(120_000, CASES * 12),
  );
});
