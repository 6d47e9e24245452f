import { hopByHop } from "./a-hop-by-hop.attacks.ts";
import { describeAttacks } from "./wire.ts";

describeAttacks({
  title: "A. hop-by-hop fields and what a proxy owes",
  attacks: hopByHop,
  naiveFails: ["001", "002", "003", "004", "005", "008", "012", "021"],
});
