import { IncomingMessage } from "node:http";

/**
 * A request as Node's parser makes it, that can be the last which is read for now. Node asks each whether it wants to
 * change protocol; behind the head of one that does it takes its parser off the connection and hands over the bytes that
 * are left. So a request that has to wait says it does, where what waits already is as much as may: everything behind its
 * head stays bytes. Pausing the socket would come too late: one read of 64 KiB is three thousand requests.
 */
export function stoppableMessage(mustStop: (request: IncomingMessage) => boolean): typeof IncomingMessage {
  return class StoppableMessage extends IncomingMessage {
    #upgrade = false;
    #judged = false;

    /** Asked for the first time when the head is known, and the same from then on. */
    get upgrade(): boolean {
      if (!this.#judged) {
        this.#judged = true;
        this.#upgrade ||= mustStop(this);
      }
      return this.#upgrade;
    }

    /** Null is what Node's own constructor says, before there is anything of ours. */
    set upgrade(wished: boolean | null) {
      if (wished !== null) this.#upgrade = wished;
    }
  };
}
