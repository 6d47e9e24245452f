import { createHash } from "node:crypto";
import { expect } from "vitest";
import type { GatewayRecord } from "../support/gateway.ts";
import type { SeenRequest } from "../support/http-parsers.ts";
import { fieldOf, type RawAnswer, type RawClient } from "../support/raw-client.ts";
import { answerOk, type HeadScript, type Script, type UpstreamConnection } from "../support/recording-upstream.ts";
import { auth, Rig } from "../support/rig.ts";
import { get } from "../wire/wire.ts";

/** Which of the gateway's two ways of reading a request it takes: see docs/plain-requests.md. */
export type Way = "plainly" | "by Node's server";

const WAYS: readonly Way[] = ["plainly", "by Node's server"];

/** Longer texts are compared by their length and digest: what differs stays readable. */
const SHOWN_BYTES = 2048;

/** For what must come in the end, on whatever machine. */
const PATIENCE_MS = 15_000;

/** Two gateways with one configuration, each with an upstream of its own: one for each way. */
export class BothWays {
  readonly rigs: Readonly<Record<Way, Rig>>;
  /** What was counted when they started. */
  readonly #counted: Readonly<Record<Way, Counts>>;
  /** Answers whose records are still to be compared. */
  readonly #answered: Answered[] = [];

  private constructor(rigs: Readonly<Record<Way, Rig>>, counted: Readonly<Record<Way, Counts>>) {
    this.rigs = rigs;
    this.#counted = counted;
  }

  /** As `Rig.start`. */
  static async start(...options: Parameters<typeof Rig.start>): Promise<BothWays> {
    const [plain, node] = await Promise.all([Rig.start(...options), Rig.start(...options)]);
    const counted = { plainly: await readMetrics(plain), "by Node's server": await readMetrics(node) };
    return new BothWays({ plainly: plain, "by Node's server": node }, counted);
  }

  async stop(): Promise<void> {
    const rigs = WAYS.map((way) => this.rigs[way]);
    await Promise.all(rigs.map((rig) => (rig.gateway.alive ? rig.stop() : rig.upstream.stop())));
  }

  /**
   * Plays the story on both ways and fails where what shows outside differs: what the client gets and how its connection
   * ends, what the upstream gets and how it is left. Gives what both saw. The log and the metrics: see `recordedAlike`.
   */
  async alike(story: Story): Promise<Sight> {
    const [plain, node] = await bothSettled((way) => watch(this.rigs[way], way, story));
    expect(plain.sight, "plainly, and by Node's server").toEqual(node.sight);
    const { name, bytesInVary = false } = story;
    this.#answered.push({ name, bytesInVary, ids: { plainly: plain.ids, "by Node's server": node.ids } });
    return node.sight;
  }

  /**
   * Compares the log lines of all stories so far, and what was counted for them. For all at once, since lines are written a
   * while after the fact. `but`: members that are not compared.
   */
  async recordedAlike(but: readonly string[] = []): Promise<readonly Recorded[]> {
    const [plain, node] = await bothSettled((way) => this.#recorded(way, but));
    for (const [index, each] of node.stories.entries()) expect(plain.stories[index], each.name).toEqual(each);
    expect(plain.others).toEqual(node.others);
    expect(plain.metrics).toEqual(node.metrics);
    return [...node.stories, ...node.others.map((record) => ({ name: "not answered", records: [record] }))];
  }

  async #recorded(
    way: Way,
    but: readonly string[],
  ): Promise<{ stories: Recorded[]; others: unknown[]; metrics: readonly string[] }> {
    const rig = this.rigs[way];
    const { gateway } = rig;
    const known = this.#answered.flatMap(({ ids }) => ids[way]);
    if (gateway.alive) await settle(rig);
    const answered = new Set(known);
    const all = () => gateway.logs().filter(({ requestId }) => answered.has(String(requestId))).length === known.length;
    if (!all()) await gateway.waitForRecord(all, PATIENCE_MS);
    const byId = new Map(gateway.logs().map((record) => [record.requestId, record]));
    return {
      stories: this.#answered.map(({ name, bytesInVary, ids }) => ({
        name,
        records: ids[way].map((id) => ({
          ...recordLikeness(byId.get(id) ?? {}, but),
          ...(bytesInVary && { bytesIn: "some" }),
        })),
      })),
      others: [...byId.values()]
        .filter((record) => isOurs(record) && !answered.has(String(record.requestId)))
        .map((record) => recordLikeness(record, but))
        .sort((one, other) => JSON.stringify(one).localeCompare(JSON.stringify(other))),
      metrics: gateway.alive ? differences(this.#counted[way], await readMetrics(rig)) : [],
    };
  }
}

/** A story whose log lines are still to be compared. */
interface Answered {
  readonly name: string;
  readonly bytesInVary: boolean;
  /** Of its answers. */
  readonly ids: Readonly<Record<Way, readonly string[]>>;
}

/** What both come to; a failure of one waits for the other, which would go on into the next story. */
async function bothSettled<T>(take: (way: Way) => Promise<T>): Promise<[plain: T, node: T]> {
  const both = [take("plainly"), take("by Node's server")] as const;
  await Promise.allSettled(both);
  return Promise.all(both);
}

/** The log lines of one story's answers, in order. */
export interface Recorded {
  readonly name: string;
  readonly records: readonly unknown[];
}

/** What one client does, and what it waits for. */
export interface Story {
  readonly name: string;
  readonly play: (scene: Scene) => Promise<void>;
  readonly script?: Script;
  readonly headScript?: HeadScript;
  /** How much of the body was received when it was given up is not the same, or depends on the machine. */
  readonly bytesInVary?: boolean;
  /** Whether the upstream hears of it is a matter of microseconds: not compared. */
  readonly upstreamVaries?: boolean;
  /** The story ends the gateways: each is waited for. */
  readonly gatewayEnds?: boolean;
}

/** All that shows outside, but for what can not be the same twice: ids, dates, ports and times. */
export interface Sight {
  /** In order: answers, ends, and what the story notes. */
  readonly client: readonly unknown[];
  readonly upstream: readonly SeenUpstream[];
}

/** A request at the upstream; `left` says how the gateway left its connection, where nothing came behind it. */
export interface SeenUpstream {
  readonly method: string;
  readonly target: string;
  readonly version: string;
  readonly headers: readonly string[];
  readonly body: string;
  readonly complete: boolean;
  readonly remainder: string;
  readonly left: string;
}

/** One client of one gateway while its story is played. */
export class Scene {
  readonly rig: Rig;
  readonly way: Way;
  readonly client: RawClient;
  readonly noted: unknown[] = [];
  /** Request ids of the answers. */
  readonly ids: string[] = [];
  readonly #stranger: RawClient;
  /** What the upstream had seen before. */
  readonly #known: Known;
  /** The first bytes that are not plain decide for a connection. */
  #decided = false;

  constructor(rig: Rig, way: Way, client: RawClient, stranger: RawClient, known: Known) {
    this.#known = known;
    this.rig = rig;
    this.way = way;
    this.client = client;
    this.#stranger = stranger;
  }

  /** Sends bytes whose beginning is a request's head; resolves when they are with the kernel. */
  send(bytes: string | Buffer): Promise<void> {
    return this.client.write(this.dress(bytes));
  }

  /** In pieces, each of which the gateway reads by itself. */
  async sendApart(pieces: readonly (string | Buffer)[]): Promise<void> {
    for (const [index, piece] of pieces.entries()) {
      if (index > 0) await this.beat();
      await this.send(piece);
    }
  }

  /**
   * What makes the first bytes of a connection Node's, and is no part of the request: an empty line in front of it, and a
   * blank behind the Host. Bytes that come later are as they are.
   */
  dress(bytes: string | Buffer): string | Buffer {
    if (this.#decided) return bytes;
    this.#decided = true;
    return this.way === "plainly" ? bytes : unplain(bytes);
  }

  /** A stranger is answered: what was sent before has been read, and what it led to at once has been done. */
  async beat(): Promise<void> {
    await this.#stranger.write(get("/beat"));
    expect((await this.#stranger.answer("GET", PATIENCE_MS))?.status).toBe(404);
    await new Promise((done) => setImmediate(done));
  }

  /** The next answer; null when the connection ended without. */
  async answer(method = "GET"): Promise<RawAnswer | null> {
    const got = await this.client.answer(method, PATIENCE_MS);
    this.noted.push(likeness(got));
    if (got !== null) this.ids.push(String(fieldOf(got, "X-Request-Id")));
    return got;
  }

  /** The gateway ends the connection: with a FIN or a reset. */
  async closed(): Promise<void> {
    this.noted.push({ ended: await this.client.closed(PATIENCE_MS) });
  }

  /** The connection is open, and another request is answered on it. */
  async kept(): Promise<void> {
    expect(this.client.ended).toBeNull();
    await this.client.write(get("/public/next"));
    expect((await this.answer())?.body.toString()).toContain('"target":"/public/next"');
  }

  /** Plays all of them at once, each with a client of its own; what they see is noted in their order, by name. */
  async together(plays: Readonly<Record<string, (scene: Scene) => Promise<void>>>): Promise<void> {
    const parts = await Promise.all(
      Object.entries(plays).map(async ([name, play]) => {
        const [client, stranger] = await Promise.all([this.rig.connect(), this.rig.connect()]);
        const scene = new Scene(this.rig, this.way, client, stranger, this.#known);
        try {
          await play(scene);
        } catch (error) {
          throw new Error(`${name}: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
        } finally {
          client.destroy();
          stranger.destroy();
        }
        return { name, scene };
      }),
    );
    for (const { name, scene } of parts) {
      this.noted.push({ name, noted: scene.noted });
      this.ids.push(...scene.ids);
    }
  }

  /** A plain request is answered. */
  async asksBefore(): Promise<void> {
    await this.client.write(get("/any/before", auth()));
    expect((await this.answer())?.status).toBe(200);
  }

  /** Whether the last answer said that the connection ends; then it does. */
  async endsAsSaid(): Promise<void> {
    const said = (this.noted.at(-1) as { headers: string[] }).headers.includes("Connection: close");
    if (said) await this.closed();
    else await this.kept();
  }

  /** What came of an answer that will not be whole. */
  noteReceived(): void {
    const [head = "", body = ""] = this.client.rest().toString("latin1").split("\r\n\r\n");
    this.noted.push({ status: head.split("\r\n")[0], body });
  }

  /** The request at the upstream, once it is there and `holds`. */
  async upstreamHas(target: string, holds: (request: SeenRequest) => boolean = () => true): Promise<void> {
    const { upstream } = this.rig;
    const isIt = (request: SeenRequest) => request.target === target && holds(request);
    await upstream.until(() => upstream.connections.some((each) => freshOf(each, this.#known).some(isIt)), PATIENCE_MS);
  }

  /** The connection of the request at the upstream. */
  upstreamOf(target: string): UpstreamConnection {
    const found = this.rig.upstream.connections.findLast(
      (each) => freshOf(each, this.#known).at(-1)?.target === target,
    );
    if (found === undefined) throw new Error(`nobody asked for ${target}`);
    return found;
  }

  /** The gateway leaves the upstream's connection. */
  async upstreamIsLeft(target: string): Promise<void> {
    const connection = this.upstreamOf(target);
    await this.rig.upstream.until(() => connection.closed, PATIENCE_MS);
  }
}

/** The same request, not plain. */
export function unplain(bytes: string | Buffer): string | Buffer {
  const text = typeof bytes === "string" ? bytes : bytes.toString("latin1");
  return `\r\n${text.replace("\r\nHost: gw\r\n", "\r\nHost: gw \r\n")}`;
}

async function watch(
  rig: Rig,
  way: Way,
  { play, script, headScript, gatewayEnds, upstreamVaries }: Story,
): Promise<{ readonly sight: Sight; readonly ids: readonly string[] }> {
  const { gateway, upstream } = rig;
  upstream.reset();
  upstream.script = script ?? answerOk;
  upstream.headScript = headScript ?? upstream.headScript;
  const known = new Map(upstream.connections.map((each) => [each, each.seen("strict").length]));
  const [client, stranger] = await Promise.all([rig.connect(), rig.connect()]);
  const scene = new Scene(rig, way, client, stranger, known);
  try {
    await play(scene);
    if (gatewayEnds) expect(await gateway.exited).toBe(0);
    else await scene.beat();
    const ended = { ended: client.ended, restBytes: client.rest().length };
    const seen = upstreamVaries ? [] : upstreamSight(upstream.connections, known);
    return { sight: { client: [...scene.noted, ended], upstream: seen }, ids: scene.ids };
  } catch (error) {
    throw new Error(`${way}: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
  } finally {
    client.destroy();
    stranger.destroy();
    upstream.reset();
  }
}

let fences = 0;

/** A request behind everything else is answered and in the log. */
async function settle(rig: Rig): Promise<void> {
  const path = `/beat/${++fences}`;
  const client = await rig.connect();
  await client.write(get(path));
  expect((await client.answer("GET", PATIENCE_MS))?.status).toBe(404);
  client.destroy();
  await rig.gateway.waitForRecord((record) => record.path === path, PATIENCE_MS);
}

function isOurs({ requestId, path }: GatewayRecord): boolean {
  return requestId !== undefined && !String(path).startsWith("/beat");
}

function likeness(got: RawAnswer | null): unknown {
  if (got === null) return null;
  const headers = got.headers.map(([name, value]) => `${name}: ${PASSING.has(name) ? "..." : value}`).sort();
  return { ...got, headers, body: shown(got.body).replace(/req_[0-9a-z]{15}/, "...") };
}

/** How many requests each connection had carried before. */
type Known = ReadonlyMap<UpstreamConnection, number>;

/** The requests of a connection beyond those. */
function freshOf(connection: UpstreamConnection, known: Known): SeenRequest[] {
  return connection.seen("strict").slice(known.get(connection) ?? 0);
}

function upstreamSight(connections: readonly UpstreamConnection[], known: Known): SeenUpstream[] {
  const sight = connections.flatMap((connection) => {
    const remainder = connection.remainder("strict").toString("latin1");
    return freshOf(connection, known).map((request, index, mine) => {
      const last = index === mine.length - 1;
      const { method, target, version, headers, body, complete } = request;
      const told = headers.map(([name, value]) => withoutPort(`${name}: ${PASSING.has(name) ? "..." : value}`));
      const seen = { method, target, version, headers: told, body: shown(body), complete };
      return last ? { ...seen, remainder, left: leftHow(connection) } : { ...seen, remainder: "", left: "open" };
    });
  });
  return sight.sort((a, b) => a.target.localeCompare(b.target));
}

/** Of another request or another gateway. */
const PASSING: ReadonlySet<string> = new Set(["X-Request-Id", "X-Forwarded-Port", "Via", "Date"]);

function leftHow({ ended, closed }: UpstreamConnection): string {
  if (ended) return "fin";
  return closed ? "reset" : "open";
}

/** A line without its times, which have to fit one another. */
function recordLikeness(record: GatewayRecord, but: readonly string[]): object {
  const { time, requestId, durationMs, upstreamMs, gatewayMs, cause, ...same } = record;
  expect(String(requestId)).toMatch(/^req_[0-9a-z]{15}$/);
  expect(Number(time)).toBeGreaterThan(Date.now() - 10 * 60_000);
  expect(Number(gatewayMs)).toBeGreaterThanOrEqual(0);
  expect(Number(gatewayMs)).toBeLessThanOrEqual(Number(durationMs));
  if (upstreamMs !== null) expect(Number(upstreamMs)).toBeLessThanOrEqual(Number(durationMs));
  for (const member of but) delete (same as Record<string, unknown>)[member];
  return { ...same, forwarded: upstreamMs !== null, cause: withoutPort(String(cause)) };
}

type Counts = ReadonlyMap<string, number>;

/** What is counted, by series: times are left out, and which targets are healthy, which goes by the clock of their checks. */
async function readMetrics(rig: Rig): Promise<Counts> {
  const text = await (await fetch(`${rig.gateway.adminOrigin}/metrics`)).text();
  const counted = new Map<string, number>();
  for (const [, series = "", value] of text.matchAll(/^(sentinel_\w+(?:\{.*\})?) (\S+)$/gm)) {
    if (!/_(?:sum|bucket)(?:\{|$)|^sentinel_upstream_healthy\{/.test(series))
      counted.set(withoutPort(series), Number(value));
  }
  return counted;
}

function differences(before: Counts, after: Counts): string[] {
  return [...after]
    .filter(([series, value]) => value !== (before.get(series) ?? 0))
    .map(([series, value]) => `${series} ${value - (before.get(series) ?? 0)}`)
    .sort();
}

function withoutPort(text: string): string {
  return text.replace(/127\.0\.0\.1:\d{4,5}\b/g, "127.0.0.1:PORT");
}

function shown(bytes: Buffer): string {
  if (bytes.length <= SHOWN_BYTES) return bytes.toString("latin1");
  return `${bytes.length} bytes, ${createHash("sha256").update(bytes).digest("hex")}`;
}

/** A request and what has to come of it, on both ways. */
export interface Situation {
  /** Pieces that are read one by one. */
  readonly send: string | readonly (string | Buffer)[];
  readonly methods?: readonly string[];
  readonly answers: readonly number[];
  /** Kept: the next request on the connection is answered. */
  readonly ends: "kept" | "end" | "reset";
  /** Requests that reach the upstream whole, that of `kept` aside; as many as answers of 200 unless given. */
  readonly up?: number;
  readonly script?: Script;
  readonly headScript?: HeadScript;
  readonly bytesInVary?: boolean;
}

/** What comes before it on its connection. */
export type Before = "first" | "behind a plain one";

export const BEFORE: readonly Before[] = ["first", "behind a plain one"];

/** Every situation, once as the first request of its connection, and once behind one that was read plainly. */
export function eachPlace<T>(situations: Readonly<Record<string, T>>): [string, Before, T][] {
  return Object.entries(situations).flatMap(([what, each]) =>
    BEFORE.map((before) => [what, before, each] satisfies [string, Before, T]),
  );
}

/** Plays a situation on both ways, and says what both came to. */
export async function expectAlike(ways: BothWays, name: string, before: Before, situation: Situation): Promise<Sight> {
  const { send, methods = [], answers, ends, script, headScript, bytesInVary = false } = situation;
  const extra = (ends === "kept" ? 1 : 0) + (before === "first" ? 0 : 1);
  const sight = await ways.alike({
    name: `${name} (${before})`,
    bytesInVary,
    ...(headScript !== undefined && { headScript }),
    script: (request, connection) =>
      request.target === "/public/next" || request.target === "/any/before" || script === undefined
        ? answerOk(request)
        : script(request, connection),
    play: async (scene) => {
      if (before !== "first") await scene.asksBefore();
      await scene.sendApart(typeof send === "string" ? [send] : send);
      const got: (number | undefined)[] = [];
      for (const [index] of answers.entries()) got.push((await scene.answer(methods[index] ?? "POST"))?.status);
      expect(got).toEqual(answers);
      if (ends === "kept") await scene.kept();
      else await scene.closed();
      if (ends !== "kept") expect(scene.client.ended).toBe(ends);
    },
  });
  const whole = sight.upstream.filter(({ complete }) => complete);
  const up = situation.up ?? answers.filter((status) => status === 200).length;
  expect(whole.length - extra, JSON.stringify(sight.upstream)).toBe(up);
  return sight;
}

/** Each of so many requests is answered 200, and the connection is kept. */
export function served(send: Situation["send"], count = 1): Situation {
  return { send, answers: Array(count).fill(200), ends: "kept" };
}

/** Answered 200, and the connection ends. */
export function servedAndClosed(send: Situation["send"]): Situation {
  return { ...served(send), ends: "end" };
}

/** The last is refused, behind so many that are answered 200, and the connection ends. */
export function refused(status: number, send: Situation["send"], servedBefore = 0): Situation {
  return { send, answers: [...Array(servedBefore).fill(200), status], ends: "end" };
}

/** A request whose length is said as given. */
export function withLength(length: string, body: string, fields = auth()): string {
  return `POST /any/x HTTP/1.1\r\nHost: gw\r\n${fields}${length}\r\n${body}`;
}

/** A head alone. */
export function headOf(path: string, length: number, fields = auth(), method = "POST"): string {
  return `${method} ${path} HTTP/1.1\r\nHost: gw\r\n${fields}Content-Length: ${length}\r\n\r\n`;
}

/** So many bytes that are not all alike. */
export function bytesOf(length: number): string {
  let text = "";
  for (let index = 0; text.length < length; index++) text += `${index},`;
  return text.slice(0, length);
}
