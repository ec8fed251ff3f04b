import { spawn } from 'node:child_process';
import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { uniformFloat32 } from 'pure-rand/distribution/uniformFloat32';
import { mersenne } from 'pure-rand/generator/mersenne';
import { expect, test } from 'vitest';
import { MAIN } from '../support/cli.js';
import { resultsOf, tinyExperiment } from '../support/experiments.js';

/** Kills in one folder before it is left to finish. */
const KILLS_A_RUN = 10;

/** When to kill: by what the run has done, because a busy machine changes how long that takes. */
interface Moment {
  /** Rows on disk that are exceeded by then; -1: from the start */
  readonly rows: number;
  /** Milliseconds from then on */
  readonly delay: number;
}

/** Starts `sda run`, and kills it where asked to; resolves with its exit code, null where it was killed. */
async function run(file: string, out: string, kill?: Moment): Promise<number | null> {
  const child = spawn(process.execPath, [MAIN, 'run', file, '--out', out], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let stderr = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
  });
  const ended = new Promise<number | null>((resolve) => child.on('close', resolve));
  if (kill) {
    const running = () => child.exitCode === null && child.signalCode === null;
    while (running() && rowsIn(out) <= kill.rows) await sleep(2);
    await Promise.race([ended, sleep(kill.delay)]);
    child.kill('SIGKILL');
  }
  const code = await ended;
  if (code !== 0 && code !== null) throw new Error(`exit code ${code}: ${stderr}`);
  return code;
}

/** `kills`: how often a run is killed, over all folders. */
const CASES = [
  { kills: 20, batch: 3, items: 8 },
  { kills: 10, batch: 8, items: 16 },
];

test.each(CASES)(
  '$kills kills at random moments change nothing, batches of $batch',
  {
    timeout: 900_000,
  },
  async ({ kills: most, batch, items }) => {
    const { file, newRun } = tinyExperiment({ decoding: { max_tokens: 16 }, batch }, items);
    const undisturbed = newRun();
    const begun = performance.now();
    expect(await run(file, undisturbed)).toBe(0);
    const duration = performance.now() - begun;
    const expected = resultsOf(undisturbed);
    expect(Object.keys(expected)).toHaveLength(2 + 3 + 1 + 2);
    const total = rowsIn(undisturbed);

    const random = mersenne(5);
    /** Mostly up to half of what is left, between two writes; now and then while the run starts. */
    const nextMoment = (done: number): Moment => {
      const part = 0.6 * uniformFloat32(random) - 0.1;
      const delay = duration * uniformFloat32(random) * (part < 0 ? 0.6 : 0.05);
      return { rows: part < 0 ? -1 : done + part * (total - done), delay };
    };
    const stages = new Set<number>();
    let kills = 0;
    while (kills < most) {
      const out = newRun();
      for (let here = 0; here < KILLS_A_RUN && kills < most; ) {
        const code = await run(file, out, nextMoment(rowsIn(out)));
        if (code === 0) break; // it was done before
        kills++;
        here++;
        stages.add(rowsIn(out));
      }
      expect(await run(file, out)).toBe(0);
      expect(resultsOf(out)).toEqual(expected);
    }
    expect(kills).toBe(most);
    expect(stages.size).toBeGreaterThan(most / 5); // they fell into different places
  },
);

/** Rows on disk. */
function rowsIn(dir: string): number {
  try {
    return Object.entries(resultsOf(dir))
      .filter(([name]) => dirname(name) === 'rows')
      .reduce((sum, [, text]) => sum + text.split('\n').length - 1, 0);
  } catch {
    return 0; // before the first row
  }
}
