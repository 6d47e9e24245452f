import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";

const notices = readFileSync("dist/THIRD_PARTY_LICENSES", "utf8");
const { dependencies } = JSON.parse(readFileSync("package.json", "utf8")) as { dependencies: Record<string, string> };

/** Where the bundle's source maps say that its code comes from. */
function bundledPackages(): string[] {
  const maps = readdirSync("dist").filter((name) => name.endsWith(".map"));
  const sources = maps.flatMap(
    (name) => (JSON.parse(readFileSync(join("dist", name), "utf8")) as { sources: string[] }).sources,
  );
  const names = sources.flatMap((source) => /.*node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(source)?.[1] ?? []);
  return [...new Set(names)].sort();
}

describe("THIRD_PARTY_LICENSES, beside the bundle", () => {
  it.each(bundledPackages())("names %s, whose code is in the bundle, with its licence", (name) => {
    const { version, license } = JSON.parse(readFileSync(join("node_modules", name, "package.json"), "utf8")) as {
      version: string;
      license: string;
    };
    const title = `\n${name} ${version} (${license})\n`;
    expect(notices).toContain(title);
    const text = notices.slice(notices.indexOf(title) + title.length).split(/\n-{78}\n/)[0] ?? "";
    expect(text).toMatch(/copyright|\(c\)|public domain/i);
    expect(text).toMatch(/as is|as-is|as can be|without warranties/i);
  });

  it("covers every dependency", () => {
    expect(bundledPackages()).toEqual(expect.arrayContaining(Object.keys(dependencies)));
  });
});
