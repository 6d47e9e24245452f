import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Pool } from "../../src/forward/pool.ts";

describe("the pool of idle connections", () => {
  it("gives the one that was used last, and forgets those that are gone: like a plain list", () => {
    const step = fc.oneof(
      fc.constant({ kind: "take" } as const),
      fc.constant({ kind: "takeOldest" } as const),
      fc.nat(20).map((connection) => ({ kind: "keep", connection }) as const),
      fc.nat(20).map((connection) => ({ kind: "remove", connection }) as const),
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const pool = new Pool<number>();
        const list: number[] = [];
        for (const each of steps) {
          if (each.kind === "take") expect(pool.take()).toBe(list.pop());
          else if (each.kind === "takeOldest") expect(pool.takeOldest()).toBe(list.shift());
          else if (each.kind === "remove") {
            pool.remove(each.connection);
            if (list.includes(each.connection)) list.splice(list.indexOf(each.connection), 1);
          } else if (!list.includes(each.connection)) {
            expect(pool.keep(each.connection)).toBe(true);
            list.push(each.connection);
          }
          expect(pool.size).toBe(list.length);
        }
        expect(pool.close()).toEqual(list);
        expect(pool.keep(1)).toBe(false);
      }),
    );
  });
});
