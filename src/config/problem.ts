/** One mistake in a file that an operator wrote, at its place. */
export interface Problem {
  /** The file's name as it was given, or relative to where the command runs. */
  readonly file: string;
  /** From 1. */
  readonly line: number;
  /** From 1, in UTF-16 units. */
  readonly column: number;
  /** What is wrong, and what is right. Never holds a secret. */
  readonly message: string;
  /** The line itself, secrets masked; empty where there is none (the file could not be read). */
  readonly sourceLine: string;
}

export interface ProblemFormat {
  readonly colour: boolean;
}

/** `file:line:col: what is wrong, and what is right`, the source line below it and a caret under the column. */
export function formatProblems(problems: readonly Problem[], { colour }: ProblemFormat): string {
  return problems.map((problem) => formatProblem(problem, colour ? ANSI : PLAIN)).join("");
}

/** The first line alone: for logs, where a record is one line. */
export function formatProblemLine({ file, line, column, message }: Problem): string {
  return printable(`${file}:${line}:${column}: ${message}`);
}

/** By file, then line, then column; the same sentence at the same place once. */
export function sortProblems(problems: readonly Problem[]): Problem[] {
  const seen = new Set<string>();
  return problems
    .filter((problem) => {
      const text = formatProblemLine(problem);
      return !seen.has(text) && seen.add(text);
    })
    .sort((a, b) => compareText(a.file, b.file) || a.line - b.line || a.column - b.column);
}

interface Palette {
  readonly place: (text: string) => string;
  readonly caret: (text: string) => string;
}

const PLAIN: Palette = { place: (text) => text, caret: (text) => text };
const ANSI: Palette = {
  place: (text) => `\u001b[1m${text}\u001b[22m`,
  caret: (text) => `\u001b[31m${text}\u001b[39m`,
};

const EXCERPT_CHARS = 110;

function formatProblem(problem: Problem, palette: Palette): string {
  const { file, line, column, message, sourceLine } = problem;
  const head = `${palette.place(printable(`${file}:${line}:${column}:`))} ${printable(message)}\n`;
  if (sourceLine.trim() === "") return head;
  const { text, caretAt } = excerpt(sourceLine, column - 1);
  return `${head}  ${text}\n  ${" ".repeat(caretAt)}${palette.caret("^")}\n`;
}

/** A window of a long line around the caret, so that one mistake never fills the terminal. */
function excerpt(sourceLine: string, index: number): { text: string; caretAt: number } {
  // A tab is as wide as the terminal likes; as one space the caret stays in place.
  const line = printable(sourceLine.replaceAll("\t", " ")).trimEnd();
  const caretAt = Math.min(index, line.length);
  if (line.length <= EXCERPT_CHARS) return { text: line, caretAt };
  const start = Math.max(0, Math.min(caretAt - EXCERPT_CHARS / 2, line.length - EXCERPT_CHARS));
  return { text: line.slice(start, start + EXCERPT_CHARS), caretAt: caretAt - start };
}

/** A file may hold anything; what it holds must not steer the terminal or forge a log line. */
function printable(text: string): string {
  return text.replaceAll(/[\u0000-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g, "\ufffd");
}

function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
