import { expect, it } from "vitest";
import { createStage } from "../src/turn.ts";

/** Made once for each name: this file has all of them to itself. */
const done: string[] = [];
const does = (item: string | (() => void)) => {
  if (typeof item === "string") done.push(item);
  else item();
};
const [requests, sends, answers, ends, closes] = (["requests", "sends", "answers", "ends", "closes"] as const).map(
  (name) => createStage<string | (() => void)>(name, does),
);
if (requests === undefined || sends === undefined || answers === undefined) throw new Error("no stages");
if (ends === undefined || closes === undefined) throw new Error("no stages");

async function turns(count = 1): Promise<string[]> {
  for (let turn = 0; turn < count; turn++) await new Promise((over) => setImmediate(over));
  return done.splice(0);
}

it("has its stages in one order, whatever came first, and within a stage who came first", async () => {
  for (const stage of [closes, ends, answers, sends, requests]) {
    const name = ["requests", "sends", "answers", "ends", "closes"][
      [requests, sends, answers, ends, closes].indexOf(stage)
    ];
    stage.add(`${name} 1`);
    stage.add(`${name} 2`);
  }
  expect(done).toEqual([]);
  const names = ["requests", "sends", "answers", "ends", "closes"];
  expect(await turns()).toEqual(names.flatMap((name) => [`${name} 1`, `${name} 2`]));
});

it("takes what a stage puts off to a later one in the same turn, and to an earlier one in the next", async () => {
  requests.add(() => answers.add("answer"));
  ends.add(() => sends.add("send"));
  closes.add("close");
  expect(await turns()).toEqual(["answer", "close"]);
  expect(await turns()).toEqual(["send"]);
  expect(await turns(3)).toEqual([]);
});

it("is not lost with something that throws: what is left of its stage and the later ones come in the next", async () => {
  const listeners = process.listeners("uncaughtException");
  process.removeAllListeners("uncaughtException");
  const thrown: unknown[] = [];
  process.on("uncaughtException", (error) => thrown.push(error.message));
  try {
    requests.add("before");
    requests.add(() => {
      throw new Error("a defect");
    });
    requests.add("behind");
    answers.add("answer");
    expect(await turns(4)).toEqual(["before", "behind", "answer"]);
    expect(thrown).toEqual(["a defect"]);
    requests.add("later");
    expect(await turns()).toEqual(["later"]);
  } finally {
    process.removeAllListeners("uncaughtException");
    for (const listener of listeners) process.on("uncaughtException", listener);
  }
});
