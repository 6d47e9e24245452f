import { createHash } from "node:crypto";
import { once } from "node:events";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { fieldOf } from "../support/raw-client.ts";
import { get } from "../wire/wire.ts";
import { BothWays, bytesOf, headOf } from "./both-ways.ts";

const TARGET = "/any/x";

/** A key service that says nothing before it is released. */
class HeldKeyService {
  readonly #server: Server;
  readonly #statuses = new Map<string, number>();
  #asked = 0;
  #answers: (() => void)[] = [];
  #onAsked: () => void = () => {};

  private constructor() {
    this.#server = createServer((request, response) => {
      let text = "";
      request.on("data", (chunk: Buffer) => {
        text += chunk.toString();
      });
      request.on("end", () => {
        const { hash } = JSON.parse(text) as { hash: string };
        const status = this.#statuses.get(hash);
        const record = { id: "key_held", hash, enabled: true, workspaceEnabled: true, permissions: [] };
        const say = () => response.writeHead(status ?? 404).end(status === 200 ? JSON.stringify(record) : "{}");
        if (status === undefined) return say();
        this.#answers.push(say);
        this.#asked += 1;
        this.#onAsked();
      });
    });
  }

  static async start(): Promise<HeldKeyService> {
    const service = new HeldKeyService();
    service.#server.listen(0, "127.0.0.1");
    await once(service.#server, "listening");
    return service;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}/lookup`;
  }

  /** A new key, about which it will answer with this status. */
  keyOf(status: number): string {
    const key = `unkey_held${this.#statuses.size}`;
    this.#statuses.set(createHash("sha256").update(key).digest("base64"), status);
    return key;
  }

  /** It was asked by both gateways. */
  async askedByBoth(): Promise<void> {
    while (this.#asked < 2) await new Promise<void>((done) => this.#onAskedBy(done));
  }

  #onAskedBy(done: () => void): void {
    const before = this.#onAsked;
    this.#onAsked = () => {
      before();
      done();
    };
  }

  release(): void {
    this.#asked = 0;
    this.#onAsked = () => {};
    for (const answer of this.#answers.splice(0)) answer();
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    this.#server.close();
    await once(this.#server, "close");
  }
}

describe("a request with a body whose key is still looked up, on both ways", () => {
  let service: HeldKeyService;
  let ways: BothWays;
  beforeAll(async () => {
    service = await HeldKeyService.start();
    ways = await BothWays.start({ keys: { source: { type: "http", url: service.url, timeout: "10s" } } });
  });
  afterAll(async () => {
    await ways?.stop();
    await service?.stop();
  });

  const bearer = (key: string) => `Authorization: Bearer ${key}\r\n`;
  type Sends = (head: string) => readonly [first: string, rest: string];
  const deliveries: Readonly<Record<string, readonly [length: number, sends: Sends]>> = {
    "with the body": [5, (head) => [`${head}hello`, ""]],
    "with the body that comes meanwhile": [5, (head) => [head, "hello"]],
    "with half of the body": [10, (head) => [`${head}hello`, ""]],
    "with half of the body, and the rest meanwhile": [10, (head) => [`${head}hello`, "world"]],
    "before the body": [5, (head) => [head, ""]],
    "with no bytes": [0, (head) => [head, ""]],
    "with 300 KiB": [300 * 1024, (head) => [head + bytesOf(300 * 1024), ""]],
    "with the body and a GET": [5, (head) => [`${head}hello${get("/public/y")}`, ""]],
    "with the body, and a GET that comes meanwhile": [5, (head) => [`${head}hello`, get("/public/y")]],
  };
  const outcomes: readonly (readonly [what: string, path: string, status: number, answered: number])[] = [
    ["is let in", TARGET, 200, 200],
    ["is refused for its key", TARGET, 404, 401],
    ["is refused for a permission", "/admin/x", 200, 403],
  ];
  const cases = outcomes.flatMap(([what, path, status, answered]) =>
    Object.entries(deliveries).map(
      ([how, [length, sends]]) => [what, how, { path, status, answered, length, sends }] as const,
    ),
  );

  it.each(cases)("comes to the same where it %s: %s", async (what, how, { path, status, answered, length, sends }) => {
    const key = service.keyOf(status);
    let released: Promise<void> | null = null;
    let waiting = 0;
    await ways.alike({
      name: `${what} ${how}`,
      bytesInVary: answered !== 200,
      play: async (scene) => {
        const [first, rest] = sends(headOf(path, length, bearer(key)));
        const sending = scene.send(first);
        await service.askedByBoth();
        await scene.beat();
        if (rest !== "") await scene.client.write(rest);
        await scene.beat();
        waiting += 1;
        released ??= new Promise((done) => {
          const look = () => {
            if (waiting < 2) return void setImmediate(look);
            service.release();
            done();
          };
          look();
        });
        await released;
        const whole = how.includes("half") ? rest !== "" : !how.includes("before");
        if (answered === 200 && !whole) await scene.client.write(bytesOf(length).slice(0, 5));
        const got = await scene.answer("POST");
        expect(got?.status).toBe(answered);
        await sending;
        if (how.includes("GET") && got !== null && fieldOf(got, "Connection") !== "close") await scene.answer();
        await scene.endsAsSaid();
      },
    });
  });

  it("is recorded alike", async () => {
    await ways.recordedAlike();
  });
});
