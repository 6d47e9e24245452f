import { chunkedBodies, hostileAnswers, requestFraming } from "./b-framing.attacks.ts";
import { describeAttacks } from "./wire.ts";

describeAttacks({
  title: "B. framing of requests",
  attacks: requestFraming,
  naiveFails: ["032", "034", "036", "038", "042", "043"],
});

describeAttacks({
  title: "B. bodies and pipelines",
  attacks: chunkedBodies,
  naiveFails: ["050", "053", "054"],
});

describeAttacks({
  title: "B. answers of hostile upstreams",
  attacks: hostileAnswers,
  naiveFails: ["055", "057", "192"],
});

/** 062: the same attacks cut into pieces end the same way. A small generator, so that a failure can be repeated. */
function pieces(seed: number): (index: number) => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
    return 1 + ((state >>> 8) % 24);
  };
}

describeAttacks({
  title: "B. in random pieces",
  attacks: [...requestFraming, ...chunkedBodies]
    .filter(({ send }) => typeof send === "string" && send.length < 6000)
    .map((attack, index) => ({ ...attack, name: `062 ${attack.name}`, split: pieces(index + 1) })),
});

describeAttacks({
  title: "B. byte by byte",
  attacks: [...requestFraming, ...chunkedBodies]
    .filter(({ send }) => typeof send === "string" && send.length < 400)
    .map((attack) => ({ ...attack, name: `062 ${attack.name}`, split: () => 1 })),
});
