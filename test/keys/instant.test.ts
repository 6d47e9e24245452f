import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { formatInstant, parseInstant } from "../../src/keys/instant.ts";

describe("parseInstant", () => {
  it.each([
    ["2027-06-01", "2027-06-01T00:00:00.000Z"],
    ["2027-06-01T00:00:00Z", "2027-06-01T00:00:00.000Z"],
    ["2027-06-01T12:30Z", "2027-06-01T12:30:00.000Z"],
    ["2027-06-01T12:30:15.25Z", "2027-06-01T12:30:15.250Z"],
    ["2027-06-01T12:30:15.123456789Z", "2027-06-01T12:30:15.123Z"],
    ["2027-06-01T00:30:00+02:00", "2027-05-31T22:30:00.000Z"],
    ["2027-06-01T00:30:00-05:30", "2027-06-01T06:00:00.000Z"],
    ["2028-02-29", "2028-02-29T00:00:00.000Z"],
  ])("reads %s", (text, iso) => {
    expect(parseInstant(text)).toBe(Date.parse(iso));
  });

  it.each([
    ["nothing", ""],
    ["a time without its zone", "2027-06-01T00:00:00"],
    ["a day that does not exist", "2027-02-30"],
    ["29 February of a common year", "2027-02-29T00:00:00Z"],
    ["a 13th month", "2027-13-01"],
    ["a 0th day", "2027-01-00"],
    ["hour 24", "2027-01-01T24:00:00Z"],
    ["minute 60", "2027-01-01T00:60:00Z"],
    ["second 60", "2027-01-01T00:00:60Z"],
    ["an offset of a day", "2027-01-01T00:00:00+24:00"],
    ["an offset minute 60", "2027-01-01T00:00:00+00:60"],
    ["white space", " 2027-01-01"],
    ["a number", "1780272000000"],
    ["a space for the T", "2027-01-01 00:00:00Z"],
    ["a date as people write it", "June 1, 2027"],
    ["a year of two digits", "27-06-01"],
  ])("refuses %s", (_, text) => {
    expect(parseInstant(text)).toBeNull();
  });

  it("reads back what formatInstant writes", () => {
    fc.assert(
      fc.property(
        fc.date({ min: new Date("2000-01-01"), max: new Date("2999-01-01"), noInvalidDate: true }),
        (date) => {
          expect(parseInstant(formatInstant(date.getTime()))).toBe(date.getTime());
        },
      ),
    );
  });

  it("writes milliseconds only where there are any", () => {
    expect(formatInstant(Date.parse("2027-06-01T00:00:00Z"))).toBe("2027-06-01T00:00:00Z");
    expect(formatInstant(Date.parse("2027-06-01T00:00:00.5Z"))).toBe("2027-06-01T00:00:00.500Z");
  });
});
