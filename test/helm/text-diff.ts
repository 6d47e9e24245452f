/** Lines around a difference that are shown. */
const CONTEXT = 3;

/** How `after` differs from `before`, by lines, as `diff -u` shows it but without line numbers. */
export function diffLines(before: string, after: string): string {
  const lines = compare(before.split("\n"), after.split("\n"));
  const isNear = (at: number) =>
    lines.slice(Math.max(0, at - CONTEXT), at + CONTEXT + 1).some(([mark]) => mark !== " ");
  let diff = "";
  let skipping = true;
  lines.forEach(([mark, line], at) => {
    if (!isNear(at)) {
      skipping = true;
      return;
    }
    if (skipping) diff += "@@\n";
    skipping = false;
    diff += `${mark}${line}`.trimEnd();
    diff += "\n";
  });
  return diff;
}

/** The longest common subsequence, by dynamic programming: renders are a few hundred lines. */
function compare(a: readonly string[], b: readonly string[]): [" " | "-" | "+", string][] {
  const width = b.length + 1;
  const common = new Uint32Array((a.length + 1) * width);
  for (let i = a.length - 1; i >= 0; i--) {
    for (let j = b.length - 1; j >= 0; j--) {
      common[i * width + j] =
        a[i] === b[j]
          ? (common[(i + 1) * width + j + 1] ?? 0) + 1
          : Math.max(common[(i + 1) * width + j] ?? 0, common[i * width + j + 1] ?? 0);
    }
  }
  const lines: [" " | "-" | "+", string][] = [];
  let [i, j] = [0, 0];
  while (i < a.length || j < b.length) {
    if (i < a.length && j < b.length && a[i] === b[j]) {
      lines.push([" ", a[i] ?? ""]);
      i++;
      j++;
    } else if (
      i < a.length &&
      (j === b.length || (common[(i + 1) * width + j] ?? 0) >= (common[i * width + j + 1] ?? 0))
    ) {
      lines.push(["-", a[i++] ?? ""]);
    } else {
      lines.push(["+", b[j++] ?? ""]);
    }
  }
  return lines;
}
