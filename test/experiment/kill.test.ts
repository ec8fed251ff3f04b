import { spawn } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { uniformFloat32 } from 'pure-rand/distribution/uniformFloat32';
import { mersenne } from 'pure-rand/generator/mersenne';
import { expect, test } from 'vitest';
import { MAIN } from '../support/cli.js';
import { resultsOf, tinyExperiment } from '../support/experiments.js';

/** How often a run is killed, over all folders. */
const KILLS = 30;
/** Kills in one folder before it is left to finish. */
const KILLS_A_RUN = 10;

/** Starts `sda run`, kills it after a while; resolves with its exit code, null where it was killed. */
async function run(file: string, out: string, killAfter?: number): Promise<number | null> {
  const child = spawn(process.execPath, [MAIN, 'run', file, '--out', out], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let stderr = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
  });
  const ended = new Promise<number | null>((resolve) => child.on('close', resolve));
  if (killAfter !== undefined) {
    await Promise.race([ended, sleep(killAfter)]);
    child.kill('SIGKILL');
  }
  const code = await ended;
  if (code !== 0 && code !== null) throw new Error(`exit code ${code}: ${stderr}`);
  return code;
}

test(`${KILLS} kills at random moments change nothing`, { timeout: 900_000 }, async () => {
  const { file, newRun } = tinyExperiment({ decoding: { max_tokens: 16 } }, 8);
  const undisturbed = newRun();
  const begun = performance.now();
  expect(await run(file, undisturbed)).toBe(0);
  const duration = performance.now() - begun;
  const expected = resultsOf(undisturbed);
  expect(Object.keys(expected)).toHaveLength(2 + 3 + 1 + 2);

  const random = mersenne(5);
  const stages = new Set<number>();
  let kills = 0;
  while (kills < KILLS) {
    const out = newRun();
    for (let here = 0; here < KILLS_A_RUN && kills < KILLS; ) {
      const code = await run(file, out, duration * (0.4 + 0.6 * uniformFloat32(random)));
      if (code === 0) break; // it was done before
      kills++;
      here++;
      stages.add(rowsIn(out));
    }
    expect(await run(file, out)).toBe(0);
    expect(resultsOf(out)).toEqual(expected);
  }
  expect(kills).toBe(KILLS);
  expect(stages.size).toBeGreaterThan(5); // they fell into different places
});

/** Rows on disk. */
function rowsIn(dir: string): number {
  try {
    return Object.values(resultsOf(dir)).reduce(
      (sum, text) => sum + text.split('\n').length - 1,
      0,
    );
  } catch {
    return 0; // before the first row
  }
}
