import dns from "node:dns";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { NameLookups } from "../src/name-lookups.ts";

type Answer = (error: NodeJS.ErrnoException | null, address: string) => void;

const LOST = Object.assign(new Error("getaddrinfo EAI_AGAIN"), { code: "EAI_AGAIN" });

let asked: Answer[];
let told: string[];
let now: number;
let names: NameLookups;

beforeEach(() => {
  asked = [];
  told = [];
  now = 0;
  names = new NameLookups(() => now);
  vi.spyOn(dns, "lookup").mockImplementation(((_name: string, _options: unknown, answer: Answer) => {
    asked.push(answer);
  }) as unknown as typeof dns.lookup);
});

afterEach(() => {
  vi.restoreAllMocks();
});

function want(): void {
  names.lookup("orders.internal", {}, (error, address) => told.push(error?.code ?? String(address)));
}

it("a name is asked for once by all who want it meanwhile, and anew after its answer", () => {
  for (let count = 0; count < 3; count++) want();
  expect(asked).toHaveLength(1);
  expect(names.isUnderWay("orders.internal")).toBe(true);
  asked[0]!(null, "10.0.0.1");
  expect(told).toEqual(["10.0.0.1", "10.0.0.1", "10.0.0.1"]);
  expect(names.isUnderWay("orders.internal")).toBe(false);
  want();
  asked[1]!(LOST, "");
  expect(told.at(-1)).toBe("EAI_AGAIN");
});

it("a name that was found before is asked for once more when its answer is late, for all who wait", () => {
  want();
  asked[0]!(null, "10.0.0.1");
  want();
  now = 1000;
  want();
  expect(asked, "not late yet").toHaveLength(2);
  now = 1001;
  want();
  want();
  expect(asked).toHaveLength(3);
  asked[2]!(null, "10.0.0.2");
  expect(told.slice(1)).toEqual(["10.0.0.2", "10.0.0.2", "10.0.0.2", "10.0.0.2"]);
  want();
  asked[1]!(LOST, "");
  expect(told, "the later answer is nobody's").toHaveLength(5);
  asked[3]!(null, "10.0.0.3");
  expect(told.at(-1)).toBe("10.0.0.3");
});

it("a name that nobody answers for is not asked for twice again until it is found", () => {
  const isLate = () => {
    want();
    now += 5000;
    want();
  };
  isLate();
  expect(asked, "it was never found").toHaveLength(1);
  asked[0]!(null, "10.0.0.1");
  isLate();
  expect(asked).toHaveLength(3);
  asked[1]!(LOST, "");
  isLate();
  expect(asked).toHaveLength(4);
});
