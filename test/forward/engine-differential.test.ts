import { readFileSync } from "node:fs";
import { type ClientRequest, request as httpRequest, type IncomingMessage } from "node:http";
import { Duplex } from "node:stream";
import { describe, expect, it } from "vitest";
import { answerProblem } from "../../src/forward/answer-framing.ts";
import { ResponseParser } from "../../src/forward/response-parser.ts";
import { type HostileAnswer, hostileAnswers } from "./hostile-answers.ts";

/** More of them: `DIFFERENTIAL_CASES=1000000 DIFFERENTIAL_SEED=7 npx vitest run test/forward/engine-differential.test.ts` */
const CASES = Number(process.env.DIFFERENTIAL_CASES ?? 100_000);
const SEED = Number(process.env.DIFFERENTIAL_SEED ?? 20261120);

/** How one reader understood an answer. */
type Understood =
  | {
      readonly kind: "answer";
      readonly status: number;
      readonly reason: string;
      readonly headers: readonly string[];
      readonly body: string;
      readonly trailers: readonly string[];
      readonly interims: readonly number[];
    }
  | { readonly kind: "refused"; readonly why: string };

function pieces({ bytes, cuts }: HostileAnswer): Buffer[] {
  return [0, ...cuts]
    .map((from, i) => bytes.subarray(from, cuts[i] ?? bytes.length))
    .filter((piece) => piece.length > 0);
}

function byOurs(answer: HostileAnswer): Understood {
  const interims: number[] = [];
  const body: Buffer[] = [];
  let head = { status: 0, reason: "", headers: [] as readonly string[] };
  let result: Understood | null = null;
  const parser = new ResponseParser({
    onInterim: (status) => interims.push(status),
    onHead: (status, reason, headers) => {
      head = { status, reason, headers };
    },
    onBody: (chunk) => body.push(chunk),
    onEnd: (trailers) => {
      result = { kind: "answer", ...head, body: Buffer.concat(body).toString("latin1"), trailers, interims };
    },
    onUpgrade: () => {
      result = { kind: "refused", why: "upgrade" };
    },
    onProblem: (why) => {
      result = { kind: "refused", why };
    },
  });
  parser.begin(answer.head, false);
  for (const piece of pieces(answer)) parser.feed(piece);
  if (result === null && !parser.finish()) result = { kind: "refused", why: CUT_SHORT };
  return result ?? { kind: "refused", why: "no event" };
}

const CUT_SHORT = "cut short";

/** node:http's client on a connection that is all in memory. */
function byNode(answer: HostileAnswer): Promise<Understood> {
  return new Promise((resolve) => {
    const interims: number[] = [];
    const body: Buffer[] = [];
    let response: IncomingMessage | null = null;
    const done = (why: string) => {
      socket.destroy();
      if (response?.complete !== true) return resolve({ kind: "refused", why });
      const { statusCode, statusMessage, rawHeaders, rawTrailers } = response;
      resolve({
        kind: "answer",
        status: statusCode ?? 0,
        reason: statusMessage ?? "",
        headers: rawHeaders,
        body: Buffer.concat(body).toString("latin1"),
        trailers: rawTrailers,
        interims,
      });
    };
    const socket = new Duplex({ read() {}, write: (_chunk, _encoding, written) => written() });
    const method = answer.head ? "HEAD" : "GET";
    const request: ClientRequest = httpRequest({ method, maxHeaderSize: 64 * 1024, createConnection: () => socket });
    request.on("information", ({ statusCode }) => interims.push(statusCode));
    request.on("upgrade", () => done("upgrade"));
    request.on("error", (error: NodeJS.ErrnoException) => {
      // The answer may be whole and on its way while the bytes behind it are what the error is about.
      if (response?.complete !== true) done(error.code ?? error.message);
    });
    request.on("response", (message) => {
      response = message;
      message.on("data", (chunk: Buffer) => body.push(chunk));
      message.on("end", () => done("ended"));
      message.on("error", (error: NodeJS.ErrnoException) => done(error.code ?? error.message));
      message.on("close", () => done("closed"));
    });
    request.end();
    socket.resume();
    request.on("socket", () => {
      for (const piece of pieces(answer)) socket.push(piece);
      socket.push(null);
    });
  });
}

describe("the response parser against node:http's", () => {
  const explained = readFileSync("docs/upstream-engines.md", "utf8");

  it(`understands the same or refuses (${CASES} answers, seed ${SEED})`, async () => {
    const next = hostileAnswers(SEED);
    let alike = 0;
    let refusedByBoth = 0;
    for (let index = 0; index < CASES; index++) {
      const answer = next();
      const [ours, node] = [byOurs(answer), await byNode(answer)];
      // Spelled out by hand: an assertion costs more than the whole comparison.
      if (ours.kind === "refused" && node.kind === "refused") refusedByBoth++;
      else if (JSON.stringify(ours) === JSON.stringify(node)) alike++;
      else if (ours.kind === "answer" || !explained.includes(`| \`${ours.why}\` |`)) {
        const text = answer.bytes.toString("latin1");
        expect({ index, text, cuts: answer.cuts, understood: ours }).toEqual({ understood: node });
      }
      if (ours.kind === "answer") expect(answerProblem(ours.headers)).toBeNull();
    }
    // The generator is worth something only while both happen often.
    expect(alike).toBeGreaterThan(CASES / 3);
    expect(refusedByBoth).toBeGreaterThan(CASES / 10);
  }, 600_000);
});
