import type { Reporter, TestModule, TestRunEndReason, Vitest } from 'vitest/node';

/**
 * A reporter whose lines come last: what was not run, and why. A test that is skipped without a reason fails the run;
 * `skip(condition, reason)` of a test's context gives one.
 */
export default class NotRun implements Reporter {
  private vitest: Vitest | undefined;

  onInit(vitest: Vitest): void {
    this.vitest = vitest;
  }

  onTestRunEnd(modules: readonly TestModule[], _: unknown, reason: TestRunEndReason): void {
    // a part that was asked for by name leaves the others out on purpose
    if (reason === 'interrupted' || this.vitest?.config.testNamePattern) return;
    const tests = modules.flatMap((module) => [...module.children.allTests('skipped')]);
    const byReason = new Map<string, Set<string>>();
    for (const test of tests) {
      const result = test.result();
      const why = (result.state === 'skipped' && result.note) || '';
      byReason.set(
        why,
        (byReason.get(why) ?? new Set()).add(`${test.module.relativeModuleId}: ${test.fullName}`),
      );
    }
    for (const [why, names] of byReason) {
      const [first] = names;
      const what = names.size === 1 ? first : `${names.size} tests, the first ${first}`;
      process.stdout.write(`Not run (${why || 'no reason is given'}): ${what}\n`);
    }
    // where a hook failed, its tests are skipped too
    if (byReason.has('') && reason === 'passed') process.exitCode = 1;
  }
}
