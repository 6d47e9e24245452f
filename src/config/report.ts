import type { Problem } from "./problem.ts";
import type { Path } from "./yaml-tree.ts";

/** A problem at the place of a member, or `offset` characters into its text. */
export type ProblemAt = (path: Path, message: string, offset?: number) => Problem;

/** Collects what is found in a configuration while it is compiled. */
export interface Report {
  /** A mistake: the configuration is refused. */
  readonly mistake: (path: Path, message: string, offset?: number) => void;
  /** Worth telling, but no mistake. */
  readonly warning: (path: Path, message: string, offset?: number) => void;
  /** The line in the file, for messages that point to a second place. */
  readonly lineOf: (path: Path) => number;
}

export interface Findings {
  readonly problems: Problem[];
  readonly warnings: Problem[];
  readonly report: Report;
}

export function collectFindings(problemAt: ProblemAt): Findings {
  const problems: Problem[] = [];
  const warnings: Problem[] = [];
  return {
    problems,
    warnings,
    report: {
      mistake: (path, message, offset) => problems.push(problemAt(path, message, offset)),
      warning: (path, message, offset) => warnings.push(problemAt(path, message, offset)),
      lineOf: (path) => problemAt(path, "").line,
    },
  };
}
