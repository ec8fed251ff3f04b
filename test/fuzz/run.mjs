// A long run of the fuzz tests with a seed of its own: npm run fuzz [-- TIMES]
import { spawnSync } from 'node:child_process';

const times = process.argv[2] ?? '20';
const seed = process.env.SDA_FUZZ_SEED ?? String(Date.now() % 1_000_000);
process.stdout.write(`SDA_FUZZ_SEED=${seed}, ${times} times the cases of npm test\n`);
const { status } = spawnSync(
  'npx',
  ['vitest', 'run', 'test/fuzz', 'test/serve/hostile-requests.test.ts'],
  {
    stdio: 'inherit',
    env: { ...process.env, SDA_FUZZ_SEED: seed, SDA_FUZZ_CASES: times },
  },
);
process.exitCode = status ?? 1;
