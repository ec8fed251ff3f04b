// What a program of the matrix says of the tests that it ran.
import { existsSync, readFileSync } from 'node:fs';
import { relative } from 'node:path';

/** The end of what a program wrote, where it says no more. */
const tail = (output) => output.trim().split('\n').slice(-12).join('\n');

/**
 * How many tests passed and were skipped, and failures, each with its first message. A program that failed without naming a test, or that ran
 * none, is a failure too.
 *
 * @param ended how it ended: its exit code and output
 * @param json what vitest wrote; without it the output ends with "N passed, N failed"
 * @param place the folder whose tests they are
 */
export function readResults({ code, output }, json = undefined, place = '') {
  const results = json ? ofVitest(json, place) : ofChecks(output);
  if (results.failures.length === 0 && (code !== 0 || results.passed === 0)) {
    results.failures.push(`exit code ${code}, ${results.passed} tests passed:\n${tail(output)}`);
  }
  return results;
}

function ofChecks(output) {
  const passed = Number(/(\d+) passed, \d+ failed\n$/.exec(output)?.[1] ?? 0);
  return {
    passed,
    skipped: 0,
    failures: output.split('\n').filter((line) => line.startsWith('FAIL')),
  };
}

function ofVitest(json, place) {
  if (!existsSync(json)) return { passed: 0, skipped: 0, failures: [] };
  const { numPassedTests, numPendingTests, testResults } = JSON.parse(readFileSync(json, 'utf8'));
  const failures = testResults.flatMap(({ name, status, message, assertionResults }) => {
    const file = relative(place, name);
    const tests = assertionResults.filter((test) => test.status === 'failed');
    if (tests.length === 0) return status === 'failed' ? [`${file}: ${message}`] : [];
    return tests.map(
      (test) => `${file}: ${test.fullName}: ${test.failureMessages[0]?.split('\n', 1)[0]}`,
    );
  });
  return { passed: numPassedTests, skipped: numPendingTests, failures };
}
