import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { earlyHintLinks } from "../../src/forward/early-hints.ts";

/** By which Node's `writeEarlyHints` judges a link: `a=b=c` matches it in three ways. */
const NODES = /^(?:<[^>]*>)(?:\s*;\s*[^;"\s]+(?:=(")?[^;"\s]*\1)?)*$/;

describe("the links of a 103", () => {
  it.each([
    ["a target alone", "</a.css>"],
    ["parameters", "</a.css>; rel=preload;as=style"],
    ["quoted parameters", '<https://a.example/x?y=z>; rel="preload" ; as="a=b"'],
    ["a parameter without a value", "</a>; rel=preload; crossorigin"],
  ])("go on: %s", (_, link) => {
    expect(earlyHintLinks(["Server", "x", "LINK", link])).toEqual([link]);
  });

  it.each([
    ["no link at all", "nonsense"],
    ["text behind the target", "</a>x"],
    ["a quote that is not closed", '</a>; rel="preload'],
    ["a second = in a value", "</a>; rel=a=b"],
    ["thirty values with a second =, and a mistake", `</a>${"; a=b=c".repeat(30)}; "`],
    ["thirty thousand blanks", `</a>${" ".repeat(30_000)}x`],
    ["thirty thousand targets", "<".repeat(30_000)],
  ])("stay here: %s", (_, link) => {
    expect(earlyHintLinks(["Link", link])).toEqual([]);
  });

  it("are links for Node too, whatever they are made of", () => {
    const part = fc.constantFrom("<", ">", ";", " ", '"', "=", "a", "rel", "\t", ",", "é", "/");
    const link = fc.array(part, { maxLength: 14 }).map((parts) => `<${parts.join("")}`);
    fc.assert(
      fc.property(link, (value) => {
        for (const clean of earlyHintLinks(["Link", value])) expect(clean).toMatch(NODES);
      }),
      { numRuns: 5000 },
    );
  });
});
