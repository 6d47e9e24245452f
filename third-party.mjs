// The licences of the packages that are in the bundle, for THIRD_PARTY_LICENSES beside it.
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

/** The licences of all packages that `files` belong to, by the packages' names. */
export function formatThirdParty(files) {
  const folders = [...new Set(files.map(packageFolder).filter((folder) => folder !== null))];
  const packages = folders.map(readPackage).sort((a, b) => (a.title < b.title ? -1 : 1));
  const sections = packages.map(({ title, license, text }) => `${title} (${license})\n\n${text}\n`);
  return ["Sentinel's files hold the code of these packages. Each is used under its own licence.\n", ...sections].join(
    `\n${"-".repeat(78)}\n\n`,
  );
}

/** `node_modules/@scope/name`, wherever that stands; null for our own files. */
function packageFolder(file) {
  return /^.*node_modules\/(?:@[^/]+\/)?[^/]+/.exec(file)?.[0] ?? null;
}

function readPackage(folder) {
  const { name, version, license } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
  const file = readdirSync(folder).find((entry) => /^(licen[cs]e|copying)(\.|$)/i.test(entry));
  const text = file === undefined ? fromReadme(folder) : readFileSync(join(folder, file), "utf8");
  // Distributing the package without its licence would break it.
  if (typeof license !== "string" || text === null) throw new Error(`no licence was found in ${folder}`);
  // The Apache licence asks for these to be passed on too.
  const notices = readdirSync(folder).filter((entry) => /^notice(\.|$)/i.test(entry));
  const texts = [text, ...notices.map((notice) => readFileSync(join(folder, notice), "utf8"))];
  return { title: `${name} ${version}`, license, text: texts.map((one) => one.trim()).join("\n\n") };
}

/** Some packages say it in their README alone. */
function fromReadme(folder) {
  const file = readdirSync(folder).find((entry) => /^readme(\.|$)/i.test(entry));
  if (file === undefined) return null;
  const section = /^#+ *licen[cs]e\b[\s\S]*/im.exec(readFileSync(join(folder, file), "utf8"))?.[0];
  return section !== undefined && /permission|copyright/i.test(section) ? section : null;
}
