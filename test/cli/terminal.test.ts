import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { columnsOf } from '../../src/cli/terminal.js';
import { packageRoot } from '../../src/runtime/paths.js';
import { checkpointDir } from '../support/checkpoints.js';
import { sda } from '../support/cli.js';
import { tinyExperiment } from '../support/experiments.js';
import { temporaryFolder } from '../support/folders.js';
import { inTerminal, sdaInTerminal, type TerminalOptions } from '../support/terminal.js';

const cli = (file: string) => JSON.stringify(join(packageRoot(), 'dist/src/cli', file));

/** Runs statements that write by the command line's own means. */
function writing(statements: string, options?: TerminalOptions) {
  const file = join(temporaryFolder(), 'writing.mjs');
  writeFileSync(
    file,
    `import { note, print, warn } from ${cli('output.js')};
import { LiveLine } from ${cli('terminal.js')};
const live = new LiveLine();
${statements}`,
  );
  return inTerminal([file], options);
}

describe('a live line on a terminal', () => {
  test('stands below everything else, and goes', async () => {
    const { screen, written } = await writing(`
live.show('1 of 3');
note('a note');
live.show('2 of 3');
print('a result\\n');
warn('a warning');
live.show('3 of 3');
live.clear();
note('the end');`);
    expect(screen.text()).toEqual(['a note', 'a result', 'warning: a warning', 'the end', '']);
    for (const step of ['1 of 3', '2 of 3', '3 of 3']) expect(written).toContain(step);
  });

  test('is there at the end where it is not cleared, and not after the end', async () => {
    const shows = "note('before'); live.show('going on');";
    const killed = await writing(`${shows} process.kill(process.pid, 'SIGKILL');`);
    expect(killed.screen.text()).toEqual(['before', 'going on', '']);
    expect(killed.screen.cursorVisible).toBe(true);
    for (const end of ['process.exit(3);', "throw new Error('x');"]) {
      const { screen } = await writing(`process.on('uncaughtException', () => process.exit());
${shows} ${end}`);
      expect(screen.text()).toEqual(['before', '']);
      expect(screen.cursorVisible).toBe(true);
    }
  });

  test('waits while a line of stdout is unfinished, and leaves its text whole', async () => {
    const { screen } = await writing(`
live.show('1 token');
print('The answer');
live.show('2 tokens');
print(' is');
live.show('3 tokens');
note('a note');
print('42.\\n');
live.show('4 tokens');
live.clear();`);
    expect(screen.text()).toEqual(['The answer is', 'a note', '42.', '']);
  });

  test('is one of several', async () => {
    const { screen, written } = await writing(`
const other = new LiveLine();
live.show('first');
other.show('second');
note('a note');
live.clear();
other.show('second, later');
other.clear();`);
    expect(screen.text()).toEqual(['a note', '']);
    expect(written).toMatch(/first[^\n]*\n[^\n]*second/);
  });

  test.each([
    [
      'is wider than the terminal',
      'respond-sda 12/100, 3.1 a minute | judge-sda 4/100, 28 min left',
    ],
    ['has wide characters', '日本語のモデルを読み込んでいます、もう少しお待ちください 👩‍👩‍👧 50%'],
    ['has one long word', 'x'.repeat(99)],
    ['fills the terminal', 'x'.repeat(40)],
  ])('leaves nothing behind where it %s', async (_, text) => {
    const { screen, written } = await writing(
      `live.show(${JSON.stringify(`${text} .`)}); live.show(${JSON.stringify(text)}); note('n'); live.show('short'); live.clear();`,
      { columns: 40 },
    );
    expect(screen.text()).toEqual(['n', '']);
    expect(written).toContain(text.slice(0, 5));
  });

  test('is none where a terminal cannot replace lines', async () => {
    const { screen } = await writing("live.show('1'); note('a'); live.show('2'); live.clear();", {
      env: { TERM: 'dumb' },
    });
    expect(screen.text()).toEqual(['a', '']);
  });
});

describe('sda run on a terminal', () => {
  test.each([[80], [40]])('shows notes and progress apart, in %i columns', async (columns) => {
    const { file, newRun } = tinyExperiment();
    const { code, screen, written } = await sdaInTerminal(['run', file, '--out', newRun()], {
      columns,
    });
    expect(code).toBe(0);
    const shown = screen.text();
    const wrapped = shown.join('');
    expect(written).toContain('respond-base 0/6'); // was there, and went
    expect(wrapped).not.toMatch(/\d\/6[^,]|loading/);
    const begins = shown.filter((line) =>
      /^(weights|respond-|judge-|score |model|warning:)/.test(line),
    );
    expect(begins.map((line) => /^[a-z-]+/.exec(line)![0]).sort()).toEqual([
      ...['judge-instructed', 'judge-sda', 'model', 'respond-base', 'respond-instructed'],
      ...['respond-sda', 'score', 'warning', 'weights'],
    ]);
    expect(screen.cursorVisible).toBe(true);
  });

  test('is left clean by Ctrl-C', async () => {
    const { file, newRun } = tinyExperiment({ decoding: { max_tokens: 60 } }, 40);
    const { code, screen } = await sdaInTerminal(['run', file, '--out', newRun()], {
      columns: 400,
      interruptAt: /respond-base [1-9]\d*\/40/,
    });
    expect(code).toBe(130);
    const lines = screen.text();
    expect(lines.filter((line) => /respond-base \d+\/40/.test(line))).toEqual([]);
    expect(lines.at(-2)).toMatch(/the same command goes on$/);
    expect(lines.at(-1)).toBe('');
    expect(screen.cursorVisible).toBe(true);
  });
});

test('sda generate on a terminal has text and summary in lines of their own', async () => {
  const { code, screen } = await sdaInTerminal(
    [
      ...['generate', '--model', checkpointDir('tiny-llama'), '--greedy', '--ignore-eos'],
      ...['--base-ids', '1 2 3', '--instructed-ids', '1 2 3 4', '--max-tokens', '5'],
    ],
    { columns: 200 },
  );
  expect(code).toBe(0);
  const [plan, answer, summary, end, ...more] = screen.text();
  expect(plan).toMatch(/^weights .* free$/);
  expect(answer).toMatch(/^\d+( \d+){4}$/);
  expect(summary).toMatch(/^5 tokens \| .* cut at --max-tokens$/);
  expect([end, more]).toEqual(['', []]);
});

test('Ctrl-C ends a command that does not listen for it', async () => {
  const pipe = join(temporaryFolder(), 'pipe'); // nobody writes it
  spawnSync('mkfifo', [pipe]);
  const file = join(temporaryFolder(), 'waiting.mjs');
  writeFileSync(
    file,
    `setInterval(() => process.listenerCount('SIGINT') > 0 && console.log('waits'), 50);
process.argv.splice(1, 1);
await import(${cli('main.js')});`,
  );
  const command = [file, 'sda', 'conformance', pipe];
  expect((await inTerminal(command, { interruptAt: /waits/ })).code).toBe(130);
});

describe('colours', () => {
  const failing = ['conformance', 'no-such-file.json'];
  const coloured = '\u001b[31merror:';
  test.each<[Record<string, string>, boolean, boolean]>([
    [{}, true, false],
    [{ CI: 'true' }, true, false],
    [{ TERM: 'dumb' }, false, false],
    [{ NO_COLOR: '1' }, false, false],
    [{ FORCE_COLOR: '1' }, true, true],
    [{ FORCE_COLOR: '0' }, false, false],
    [{ NO_COLOR: '1', FORCE_COLOR: '1' }, false, false],
  ])('with %j: on a terminal %s, elsewhere %s', async (env, terminal, elsewhere) => {
    const { written } = await sdaInTerminal(failing, { env });
    expect(written.includes(coloured)).toBe(terminal);
    const own = { NO_COLOR: '', FORCE_COLOR: '', ...env };
    expect((await sda(failing, { env: own })).stderr.includes(coloured)).toBe(elsewhere);
  });
});

test.each<[number | undefined, string | undefined, boolean, number]>([
  [100, undefined, true, 100],
  [100, '40', true, 40],
  [60, '100', true, 60],
  [0, undefined, true, 80],
  [undefined, '40', true, 40],
  [100, 'wide', true, 100],
  [100, '40', false, 80],
])('%s columns and COLUMNS %s, terminal %s: %i', (columns, variable, isTTY, expected) => {
  const stream = { columns, isTTY } as unknown as NodeJS.WriteStream;
  const env = variable === undefined ? {} : { COLUMNS: variable };
  expect(columnsOf(stream, env)).toBe(expected);
});
