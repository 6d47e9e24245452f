export function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/** `12.3 [11.9-13.0]`: the median, and the least and greatest. */
export function spread(values, digits = 1) {
  const at = (value) => value.toFixed(digits);
  return `${at(median(values))} [${at(Math.min(...values))}-${at(Math.max(...values))}]`;
}

/** The median of the ratios round by round: what slows one round down slows both sides. */
export function ratio(values, base) {
  return median(values.map((value, i) => value / base[i]));
}

/** A Markdown table. */
export function table(head, rows) {
  const line = (cells) => `| ${cells.join(" | ")} |`;
  return [line(head), line(head.map((_, i) => (i === 0 ? "---" : "---:"))), ...rows.map(line)].join("\n");
}

/** The list, begun at another place each round, so that nobody always comes first. */
export function rotated(list, by) {
  return list.map((_, i) => list[(i + by) % list.length]);
}

/** What `measure` writes. A part that failed says so in its place, and the run ends with 3: the rest is not lost for it. */
export async function attempt(name, measure) {
  try {
    return await measure();
  } catch (error) {
    console.error(error);
    process.exitCode = 3;
    return `**${name} could not be measured:** ${String(error.message).split("\n")[0]}`;
  }
}
