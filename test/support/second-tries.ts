import type { Reporter, TestCase } from "vitest/node";

/** Names, at the end of a run, the tests that failed and passed when they were tried once more, and what they failed with. */
export default class SecondTries implements Reporter {
  readonly #tests: string[] = [];

  onTestCaseResult(test: TestCase): void {
    if (!test.diagnostic()?.flaky) return;
    const problems = test.result().errors?.map(({ message }) => `\n    ${message.split("\n", 1)[0]}`) ?? [];
    this.#tests.push(`${test.module.relativeModuleId}: ${test.fullName}${problems.join("")}`);
  }

  onTestRunEnd(): void {
    if (this.#tests.length === 0) return;
    console.log(`\nPassed at the second try only, ${this.#tests.length}:\n${this.#tests.join("\n")}`);
  }
}
