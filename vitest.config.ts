import { defineConfig } from 'vitest/config';
import { BaseSequencer, type TestSpecification } from 'vitest/node';

/** Files that take minutes. */
const LONG =
  /test\/(cuda\/emulated|experiment\/kill|fuzz\/hostile-files|cli\/generate|docs\/(blocks|site))/;

/** Long files begin first, so that no worker is left alone with one of them in the end. */
class LongFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const sorted = await super.sort(files);
    const isLong = ({ moduleId }: TestSpecification) => LONG.test(moduleId);
    return [...sorted.filter(isLong), ...sorted.filter((file) => !isLong(file))];
  }
}

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    environment: 'node',
    globalSetup: ['test/support/build.ts'],
    reporters: ['default', './test/support/not-run.ts'],
    // A process of its own, for the native addons; few of them, because each loads TensorFlow (1-2 s).
    pool: 'forks',
    maxWorkers: 2,
    isolate: false,
    sequence: { sequencer: LongFirst },
    testTimeout: 60_000,
    hookTimeout: 60_000,
  },
});
