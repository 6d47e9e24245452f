import type { UpstreamCall, Written } from "./forwarder.ts";
import type { UpstreamConnection } from "./upstream-connection.ts";

/** An exchange that begins in a moment, once a connection for it is free; until then it keeps what it is told. */
export class WaitingCall implements UpstreamCall {
  readonly #begin: (connection: UpstreamConnection | null) => UpstreamCall;
  readonly #chunks: Buffer[] = [];
  #call: UpstreamCall | null = null;
  #ended = false;
  /** It was given up: it must not begin. */
  aborted = false;

  /** `begin` gets the connection that is free, or null for one to be opened. */
  constructor(begin: (connection: UpstreamConnection | null) => UpstreamCall) {
    this.#begin = begin;
  }

  begin(connection: UpstreamConnection | null): void {
    const call = this.#begin(connection);
    this.#call = call;
    for (const chunk of this.#chunks.splice(0)) call.write(chunk);
    if (this.#ended) call.end();
  }

  write(chunk: Buffer): Written {
    if (this.#call !== null) return this.#call.write(chunk);
    this.#chunks.push(chunk);
    return "kept";
  }

  end(): void {
    if (this.#call !== null) this.#call.end();
    else this.#ended = true;
  }

  pause(): void {
    this.#call?.pause();
  }

  resume(): void {
    this.#call?.resume();
  }

  abort(): void {
    this.aborted = true;
    this.#chunks.length = 0;
    this.#call?.abort();
  }
}
