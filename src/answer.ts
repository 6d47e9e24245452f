import type { Exchange } from "./exchange.ts";
import { inOnePiece } from "./one-piece.ts";

/**
 * Whether an answer may leave as one string (`answerWhole`): the connection goes on after it, nothing of an answer was
 * sent yet, and nothing that was sent before still waits for the client to take it.
 */
export function canAnswerWhole({ client }: Exchange): boolean {
  const { socket } = client;
  return client.keepAlive && client.canPass && socket.writable && socket.writableLength === 0;
}

/**
 * Sends a whole answer in one system call. `ServerResponse` would look at every field, make three pieces of head and
 * body, and wait a turn of the event loop for each: a third of what an answer costs. The bytes are the same that it
 * would send, which a property test holds.
 *
 * `fields`: the field lines, each with its line end, without Connection and Keep-Alive, found clean by the caller.
 * `dated`: there is a Date among them. `body`: latin1, or bytes that are copied; of the length that the fields say, "" where there is none.
 * Ask `canAnswerWhole` first.
 */
export function answerWhole(
  exchange: Exchange,
  status: number,
  statusLine: string,
  fields: string,
  dated: boolean,
  body: string | Buffer,
): void {
  const { client, keepAliveFields } = exchange;
  const date = dated ? "" : dateField();
  const head = `${statusLine}${fields}${date}${keepAliveFields}\r\n`;
  client.pass(typeof body === "string" ? head + body : join(head, body), status, exchange.idleMs);
}

/** As bytes, in memory that Node shares out: as text the body would be copied twice more, each time for the collector. */
function join(head: string, body: Buffer): Buffer {
  const whole = Buffer.allocUnsafe(head.length + body.length);
  whole.write(head, 0, "latin1");
  whole.set(body, head.length);
  return whole;
}

/** `HTTP/1.1 404 Not Found` and a line end. `status`: three digits. */
export function formatStatusLine(status: number, reason: string): string {
  const known = statusLines[status];
  if (known?.reason === reason) return known.line;
  const line = inOnePiece(`HTTP/1.1 ${status} ${reason}\r\n`);
  // A copy: a reason can be a piece of a whole head, which would be kept with it.
  statusLines[status] = { reason: inOnePiece(reason), line };
  return line;
}

/** The last of each status: its reason is mostly the same. */
const statusLines: ({ readonly reason: string; readonly line: string } | undefined)[] = new Array(1000).fill(undefined);

/** Name, value, name, value ... as field lines. What is in them is not looked at. */
export function formatFields(headers: readonly string[]): string {
  let fields = "";
  for (let at = 0; at < headers.length; at += 2) fields += `${headers[at]}: ${headers[at + 1]}\r\n`;
  return fields;
}

/** The Date field, made once a second (RFC 9110 section 6.6.1). */
function dateField(): string {
  const second = Math.floor(Date.now() / 1000);
  if (second !== dateSecond) {
    dateSecond = second;
    dateText = inOnePiece(`Date: ${new Date(second * 1000).toUTCString()}\r\n`);
  }
  return dateText;
}

let dateSecond = 0;
let dateText = "";
