import { expect, it } from "vitest";
import { findNearest } from "../src/nearest.ts";

const NAMES = ["permissions", "workspaceId", "expiresAt", "meta", "read-api"];

it.each([
  ["a letter too few", "permisions", "permissions"],
  ["two slips", "permisionz", "permissions"],
  ["neighbours swapped", "expriesAt", "expiresAt"],
  ["another case", "workspaceid", "workspaceId"],
  ["another case and a slip", "WORKSPACEIDS", "workspaceId"],
  ["another mark", "expires_at", "expiresAt"],
  ["a slip in a short name", "met", "meta"],
  ["two slips in a short name", "mt", null],
  ["three slips", "permzzzons", null],
  ["itself", "meta", null],
  ["something else", "routes", null],
])("%s: %s", (_, text, nearest) => {
  expect(findNearest(text, NAMES)).toBe(nearest);
});

it("is the nearest of several", () => {
  expect(findNearest("readers", ["riders", "reader", "leader"])).toBe("reader");
});
