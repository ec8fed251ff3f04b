import { defineConfig } from 'vitest/config';

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
    testTimeout: 60_000,
    hookTimeout: 60_000,
  },
});
