import { execFile } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { isAbsolute, join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { packageRoot } from '../../src/runtime/paths.js';

const ROOT = packageRoot();
const TSC = join(ROOT, 'node_modules', 'typescript', 'bin', 'tsc');
const PATIENCE = { timeout: 300_000 };

const BUILT = /(^|\/)(node_modules|cache|dist|\.temp)\//;

/** The files of a folder whose names end so. */
function filesOf(folder: string, suffix: string): string[] {
  return readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith(suffix) && !BUILT.test(name))
    .map((name) => join(ROOT, folder, name));
}

/** The lines that a program of Node prints; one that finds faults ends with an error. */
function linesOf(program: string, ...args: string[]): Promise<string[]> {
  return new Promise((resolve, reject) => {
    const options = { cwd: ROOT, maxBuffer: 64e6 };
    execFile(process.execPath, [program, ...args], options, (error, stdout, stderr) => {
      if (error && stdout === '') reject(new Error(stderr));
      else resolve(stdout.split('\n').filter((line) => line !== ''));
    });
  });
}

describe('the tests', () => {
  it('call what they test as its types say', PATIENCE, async () => {
    const lines = await linesOf(TSC, '-p', 'test', '--pretty', 'false', '--listFiles');
    expect(lines.filter((line) => !isAbsolute(line))).toEqual([]);
    const tests = filesOf('test', '.ts').filter((file) => !file.includes('/test/fixtures/'));
    expect(tests.length).toBeGreaterThan(200);
    expect(tests.filter((file) => !lines.includes(file))).toEqual([]);
  });
});

describe('programs that are not compiled', () => {
  const PLANTED = 'test/fixtures/wrong-imports/';

  it('import what is there', PATIENCE, async () => {
    const programs = ['bench', 'docs', 'examples', 'test'].flatMap((dir) => filesOf(dir, '.mjs'));
    expect(programs.length).toBeGreaterThan(20);
    const lines = await linesOf('test/support/missing-imports.mjs', ...programs);
    expect(lines.filter((line) => !line.startsWith(PLANTED))).toEqual([]);
    const planted = ['noSuchName', 'no-such-file.js', 'noSuchCheck', 'no default', 'noSuchPath'];
    expect(lines.filter((line) => line.startsWith(PLANTED))).toEqual(
      planted.map((name) => expect.stringContaining(name)),
    );
  });
});
