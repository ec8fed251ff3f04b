import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test, vi } from 'vitest';
import { lockFolder } from '../../src/experiment/store/lock.js';
import { packageRoot } from '../../src/runtime/paths.js';
import { temporaryFolder } from '../support/folders.js';
import { errorOf } from '../support/tensorflow.js';

const LOCK = join(packageRoot(), 'dist/src/experiment/store/lock.js');

/** Takes the folder of its first argument, says so, and stays. */
const HOLDER = `
import { spawn } from 'node:child_process';
import { lockFolder } from ${JSON.stringify(LOCK)};
lockFolder(process.argv[1]);
if (process.argv[2]) console.log(spawn('sleep', ['60'], { stdio: 'inherit' }).pid);
else console.log(process.pid);
setInterval(() => {}, 1000);`;

/** A process that holds the folder, and the number that it prints. */
async function holder(dir: string, command: readonly string[] = [], ...more: string[]) {
  const [file, ...args] = [...command, process.execPath];
  const options = ['--input-type=module', '-e', HOLDER, dir, ...more];
  const child = spawn(file!, [...args, ...options], { stdio: ['ignore', 'pipe', 'inherit'] });
  onTestFinished(() => void child.kill('SIGKILL'));
  const [text] = await once(child, (listen) => child.stdout!.once('data', listen));
  return { child, printed: Number(text) };
}

async function kill(child: ChildProcess): Promise<void> {
  const ended = once(child, (listen) => child.once('exit', listen));
  child.kill('SIGKILL');
  await ended;
}

/** What a listener is called with; an end of the process before that is an error. */
function once(child: ChildProcess, add: (listen: (...values: unknown[]) => void) => void) {
  return new Promise<unknown[]>((resolve, reject) => {
    const fail = (code: unknown) => reject(new Error(`ended with ${code}`));
    add((...values) => {
      child.off('exit', fail);
      resolve(values);
    });
    child.once('exit', fail);
  });
}

describe('the lock of a folder', () => {
  test('keeps a second writer out, and says who is there', async () => {
    const dir = temporaryFolder();
    const release = lockFolder(dir);
    const error = await errorOf(() => lockFolder(dir));
    expect(error).toMatchObject({ code: 'bad-input' });
    expect(String(error)).toContain(`by process ${process.pid} on ${hostname()} since 20`);
    release();
    lockFolder(dir)();
    expect(readdirSync(dir)).toEqual([]);
  });

  test('of another process is given back when that is killed', async () => {
    const dir = temporaryFolder();
    const { child, printed } = await holder(dir);
    expect(String(await errorOf(() => lockFolder(dir)))).toContain(`by process ${printed} on`);
    await kill(child);
    lockFolder(dir)();
    expect(readdirSync(dir)).toEqual([]);
  });

  test('is not held by what its process started', async () => {
    const dir = temporaryFolder();
    const { child, printed: sleeper } = await holder(dir, [], 'with a child');
    await kill(child);
    process.kill(sleeper, 0); // is there
    lockFolder(dir)();
    process.kill(sleeper);
  });

  test('of a process that has a number of its own in another container is kept', async ({
    skip,
  }) => {
    const command = ['unshare', '--user', '--map-root-user', '--pid', '--fork', '--kill-child'];
    const [unshare, ...options] = command;
    if (spawnSync(unshare!, [...options, 'true']).status !== 0) {
      skip('this system makes no process namespaces');
    }
    const dir = temporaryFolder();
    const { child, printed } = await holder(dir, command);
    expect(printed).toBe(1);
    expect(String(await errorOf(() => lockFolder(dir)))).toContain('by process 1 on');
    await kill(child);
    await vi.waitFor(() => lockFolder(dir)(), 10_000);
  });

  test('is not that of a file alone, whatever it says', () => {
    const dir = temporaryFolder();
    const old = { pid: process.pid, host: hostname(), since: '', started: null, id: 'x' };
    for (const text of [
      '',
      'oops',
      JSON.stringify(old),
      JSON.stringify({ ...old, host: 'other' }),
    ]) {
      writeFileSync(join(dir, 'lock'), text);
      writeFileSync(join(dir, 'lock.0123456789abcdef'), text);
      lockFolder(dir)();
      expect(existsSync(join(dir, 'lock'))).toBe(false);
    }
  });

  test('leaves the file of another that has taken its name', () => {
    const dir = temporaryFolder();
    const first = lockFolder(dir);
    const file = join(dir, 'lock');
    rmSync(file);
    const second = lockFolder(dir);
    const text = readFileSync(file, 'utf8');
    first();
    expect(readFileSync(file, 'utf8')).toBe(text);
    second();
    expect(readdirSync(dir)).toEqual([]);
  });

  test('where the file system has none, and where the folder is none, is refused in a sentence', async () => {
    const dir = temporaryFolder();
    writeFileSync(join(dir, 'file'), '');
    const error = await errorOf(() => lockFolder(join(dir, 'file')));
    expect(error).toMatchObject({ code: 'bad-input' });
    expect(String(error)).toMatch(/The file .*file\/lock cannot be written \(ENOTDIR/);
    const withoutLocks = join(dir, 'without-locks.cjs');
    writeFileSync(
      withoutLocks,
      `require(${JSON.stringify(join(packageRoot(), 'node_modules/fs-native-extensions'))}).tryLock = () => {
  throw new Error('no locks available');
};`,
    );
    const options = ['--require', withoutLocks, '--input-type=module', '-e', HOLDER, dir];
    const { stderr } = spawnSync(process.execPath, options, { encoding: 'utf8' });
    expect(stderr).toMatch(
      /The folder .* is on a file system that has no locks \(no locks available\), .*: give a folder on another with --out\.\n/,
    );
  });
});

/** Processes that each answer every message with what they did. */
async function racers(script: string, count = 3) {
  const children = Array.from({ length: count }, () =>
    spawn(process.execPath, ['--input-type=module', '-e', script], {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    }),
  );
  onTestFinished(() => {
    for (const child of children) child.kill();
  });
  const next = (child: ChildProcess) => once(child, (listen) => child.once('message', listen));
  await Promise.all(children.map(next));
  return async (message: string) => {
    const answers = children.map(next);
    for (const child of children) child.send(message);
    return (await Promise.all(answers)).flat().filter((value) => typeof value === 'string');
  };
}

test('of three processes that start at the same moment exactly one gets the folder', async () => {
  const start = await racers(`
import { lockFolder } from ${JSON.stringify(LOCK)};
process.on('message', (dir) => {
  try { lockFolder(dir); process.send('won'); } catch { process.send('lost'); }
});
process.send('ready');`);
  const folder = temporaryFolder();
  for (let round = 0; round < 100; round++) {
    const dir = join(folder, String(round));
    mkdirSync(dir);
    if (round % 2 === 1) writeFileSync(join(dir, 'lock'), '{}'); // of one that was killed
    expect((await start(dir)).sort()).toEqual(['lost', 'lost', 'won']);
  }
});

test('three processes that take a folder and give it back again and again never have it together', async () => {
  const start = await racers(`
import { mkdirSync, rmdirSync } from 'node:fs';
import { lockFolder } from ${JSON.stringify(LOCK)};
process.on('message', (dir) => {
  let times = 0;
  for (const end = Date.now() + 1500; Date.now() < end; ) {
    let release;
    try { release = lockFolder(dir); } catch { continue; }
    mkdirSync(dir + '/alone'); // throws where another has it
    rmdirSync(dir + '/alone');
    release();
    times++;
  }
  process.send(times > 0 ? 'had it' : 'never');
});
process.send('ready');`);
  const dir = temporaryFolder();
  expect(await start(dir)).toEqual(['had it', 'had it', 'had it']);
  expect(readdirSync(dir)).toEqual([]);
});
