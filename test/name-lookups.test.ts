import dns from "node:dns";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { NameLookups } from "../src/name-lookups.ts";

type Answer = (error: NodeJS.ErrnoException | null, address?: string, family?: number) => void;

const failure = (code: string) => Object.assign(new Error(`getaddrinfo ${code}`), { code });
const NO_ANSWER = failure("EAI_AGAIN");
const NO_SUCH_NAME = failure("ENOTFOUND");
const MINUTE_MS = 60_000;

let asked: Answer[];
let told: string[];
let now: number;
let names: NameLookups;

beforeEach(() => {
  asked = [];
  told = [];
  now = 0;
  names = new NameLookups(() => now);
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
  vi.spyOn(dns, "lookup").mockImplementation(((_name: string, _options: unknown, answer: Answer) => {
    asked.push(answer);
  }) as unknown as typeof dns.lookup);
});

afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
});

function want(): void {
  names.lookup("orders.internal", {}, (error, address) => told.push(error?.code ?? String(address)));
}

/** Those whose answer is there already are told in a moment. */
function moment(): Promise<void> {
  return new Promise((resolve) => process.nextTick(resolve));
}

function pass(ms: number): void {
  now += ms;
  vi.advanceTimersByTime(ms);
}

function find(address: string): void {
  want();
  asked.at(-1)!(null, address, 4);
  told.length = 0;
}

it("a name is asked for once by all who want it meanwhile, and anew after its answer", () => {
  for (let count = 0; count < 3; count++) want();
  expect(asked).toHaveLength(1);
  expect(names.isAwaited("orders.internal")).toBe(true);
  asked[0]!(null, "10.0.0.1");
  expect(told).toEqual(["10.0.0.1", "10.0.0.1", "10.0.0.1"]);
  expect(names.isAwaited("orders.internal")).toBe(false);
  want();
  asked[1]!(NO_SUCH_NAME);
  expect(told.at(-1)).toBe("ENOTFOUND");
});

it("a name whose answer is late has the address that was found last, until it is answered", async () => {
  find("10.0.0.1");
  want();
  want();
  pass(999);
  expect(told, "not late yet").toEqual([]);
  pass(1);
  expect(told).toEqual(["10.0.0.1", "10.0.0.1"]);
  expect(names.isAwaited("orders.internal")).toBe(false);
  want();
  await moment();
  expect(told, "nobody waits for it any more").toHaveLength(3);
  expect(asked, "it is still asked for once").toHaveLength(2);

  asked[1]!(null, "10.0.0.2");
  expect(told, "everybody was told").toHaveLength(3);
  want();
  await moment();
  expect(told, "an answer is in time again").toHaveLength(3);
  asked[2]!(null, "10.0.0.3");
  expect(told.at(-1)).toBe("10.0.0.3");
});

it("a name server that can not say leaves a name its last address, and is asked again by each who wants it", async () => {
  find("10.0.0.1");
  want();
  asked[1]!(NO_ANSWER);
  expect(told).toEqual(["10.0.0.1"]);
  want();
  await moment();
  expect(told).toEqual(["10.0.0.1", "10.0.0.1"]);
  expect(asked).toHaveLength(3);
  asked[2]!(NO_ANSWER);
  expect(told).toHaveLength(2);
});

it("a name that is no longer there has no address from then on", async () => {
  find("10.0.0.1");
  want();
  pass(1000);
  asked[1]!(NO_SUCH_NAME);
  want();
  await moment();
  asked[2]!(NO_ANSWER);
  expect(told).toEqual(["10.0.0.1", "EAI_AGAIN"]);
});

it("an address is used for five minutes after it was found, and no longer", async () => {
  find("10.0.0.1");
  pass(5 * MINUTE_MS);
  want();
  asked[1]!(NO_ANSWER);
  pass(1);
  want();
  await moment();
  asked[2]!(NO_ANSWER);
  want();
  pass(1000);
  asked[3]!(NO_ANSWER);
  expect(told).toEqual(["10.0.0.1", "EAI_AGAIN", "EAI_AGAIN"]);
});

it("a name that was never found is waited for", () => {
  want();
  pass(9000);
  expect(names.isAwaited("orders.internal")).toBe(true);
  asked[0]!(null, "10.0.0.1");
  expect(told).toEqual(["10.0.0.1"]);
});
