import type { SendHandle } from "node:child_process";
import type { Worker } from "node:cluster";

/** What Node's holder of workers and a worker say to each other about a connection. */
interface ClusterMessage {
  readonly act?: string;
  readonly seq?: number;
  readonly ack?: number;
}

/** A connection as the holder accepted it: a handle of libuv's. */
type Accepted = SendHandle & { close(): void };

/**
 * Sees to it that no connection is lost with a worker. Node's holder hands each one over and keeps it open until the worker
 * says that it has it; where the worker dies before that, nobody would ever answer it or close it. It goes to another
 * worker instead, as if this one had refused it; where `othersListen` says that there is none, it is closed.
 */
export function watchHandedConnections({ process: child }: Worker, othersListen: () => boolean): void {
  const handed = new Map<number, Accepted>();
  const send = child.send;
  child.send = function (this: typeof child, message: ClusterMessage, ...rest: unknown[]): boolean {
    if (message.act === "newconn" && message.seq !== undefined) handed.set(message.seq, rest[0] as Accepted);
    return Reflect.apply(send, this, [message, ...rest]);
  };
  child.on("internalMessage", ({ ack }: ClusterMessage) => {
    if (ack !== undefined) handed.delete(ack);
  });
  let struckOff = false;
  child.once("disconnect", () => {
    struckOff = true;
  });
  // It has ended, and all that it said has been read.
  child.once("close", () => {
    // Node keeps this back for ever where a connection was on its way, and with it the worker among those that listen.
    if (!struckOff) child.emit("disconnect");
    for (const [seq, connection] of handed) {
      if (othersListen()) child.emit("internalMessage", { cmd: "NODE_CLUSTER", ack: seq, accepted: false });
      else connection.close();
    }
    handed.clear();
  });
}
