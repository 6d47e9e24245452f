import type { Reporter, TestCase } from "vitest/node";

/** Names, at the end of a run, the tests that failed and passed when they were tried once more: `.ci/run` prints them. */
export default class SecondTries implements Reporter {
  readonly #names: string[] = [];

  onTestCaseResult(test: TestCase): void {
    if (test.diagnostic()?.flaky) this.#names.push(`${test.module.relativeModuleId}: ${test.fullName}`);
  }

  onTestRunEnd(): void {
    if (this.#names.length === 0) return;
    console.log(`\nPassed at the second try only, ${this.#names.length}:\n${this.#names.join("\n")}`);
  }
}
