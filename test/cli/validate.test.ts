import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { runCommand } from "./support.ts";

let cwd: string;
beforeEach(() => {
  cwd = mkdtempSync(join(tmpdir(), "sentinel-validate-"));
  write("keys.yaml", "keys: []\n");
});
afterEach(() => rmSync(cwd, { recursive: true }));

const write = (name: string, text: string) => writeFileSync(join(cwd, name), text);
const validate = (...args: string[]) => runCommand(["validate", ...args], { cwd });

const VALID = `keys: { source: { type: file, path: keys.yaml } }
upstreams: [{ name: orders, targets: ["http://127.0.0.1:3000"] }]
routes: [{ name: all, upstream: orders }]
`;

describe("sentinel validate", () => {
  test("ends in 0 and says what there is", async () => {
    write("sentinel.yaml", VALID);
    expect(await validate()).toEqual({
      status: 0,
      out: "",
      err: `${join(cwd, "sentinel.yaml")} is valid: 1 route, 1 upstream, a keyring with 0 keys.\n`,
    });
  });

  test("ends in 1 and says every mistake, each with its line, in the configuration and in the keyring", async () => {
    write("sentinel.yaml", `lisen: 1\n${VALID}`.replace("upstream: orders", "upstream: odrers"));
    write("keys.yaml", "keys:\n  - id: key_a\n    hash: nonsense\n");
    const { status, out, err } = await validate();
    expect(status).toBe(1);
    const lines = out.split("\n").filter((line) => line.startsWith(cwd));
    expect(lines.map((line) => line.replace(`${cwd}/`, ""))).toEqual([
      'sentinel.yaml:1:1: unknown member "lisen"; did you mean "listen"?',
      'sentinel.yaml:4:33: there is no upstream "odrers"; did you mean "orders"?',
      expect.stringMatching(/^keys\.yaml:3:11: /),
    ]);
    expect(out).toContain("  lisen: 1\n  ^\n");
    expect(err).toBe("3 mistakes; nothing is valid until they are gone.\n");
  });

  test("finds mistakes in the keyring of a configuration that can not be compiled", async () => {
    write("sentinel.yaml", VALID.replace("path: keys.yaml", "path: none.yaml").replace("name: all", "nam: all"));
    const { out } = await validate();
    expect(out).toContain("none.yaml:1:1: there is no keyring here; `sentinel keys create` makes one");
    expect(out).toContain('unknown member "nam" in "routes[0]"; did you mean "name"?');
  });

  test("refuses a keyring that is not UTF-8, rather than take another text for it", async () => {
    write("sentinel.yaml", VALID);
    writeFileSync(join(cwd, "keys.yaml"), Buffer.from("roles:\n  - { name: caf\u00e9, permissions: [] }\n", "latin1"));
    const { status, out } = await validate();
    expect(out).toContain("keys.yaml:1:1: the keyring can not be read: it is not UTF-8 text\n");
    expect(status).toBe(1);
  });

  test("says in words why a keyring can not be read", async () => {
    write("sentinel.yaml", VALID.replace("path: keys.yaml", "path: ."));
    expect((await validate()).out).toContain(":1:1: the keyring can not be read: it is a folder\n");
  });

  test("prints the list as JSON", async () => {
    write("sentinel.yaml", `lisen: 1\n${VALID}`);
    const { status, out, err } = await validate("--json");
    expect(status).toBe(1);
    expect(err).toBe("");
    expect(JSON.parse(out)).toEqual({
      valid: false,
      problems: [
        {
          file: join(cwd, "sentinel.yaml"),
          line: 1,
          column: 1,
          message: 'unknown member "lisen"; did you mean "listen"?',
          sourceLine: "lisen: 1",
        },
      ],
      warnings: [],
    });
  });

  test("warns on stderr and ends in 0 all the same", async () => {
    write("sentinel.yaml", `redis: { url: "redis://127.0.0.1" }\n${VALID}`);
    const { status, out, err } = await validate();
    expect({ status, out }).toEqual({ status: 0, out: "" });
    expect(err).toContain("sentinel.yaml:1:8: nothing uses Redis: the key source is a file");
  });

  test("takes the file from -c, else from SENTINEL_CONFIG", async () => {
    write("a.yaml", VALID);
    expect((await validate("-c", "a.yaml")).status).toBe(0);
    expect((await runCommand(["validate"], { cwd, env: { SENTINEL_CONFIG: "a.yaml" } })).status).toBe(0);
    const { status, out } = await validate();
    expect(status).toBe(1);
    expect(out).toContain("config/sentinel.yaml:1:1: the configuration can not be read: there is no such file");
  });

  test("wrong usage ends in 2", async () => {
    expect((await validate("--nonsense")).status).toBe(2);
  });
});
