import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { isAbsolute, join, relative } from 'node:path';
import ts from 'typescript';
import { describe, expect, it } from 'vitest';
import { packageRoot } from '../../src/runtime/paths.js';

const ROOT = packageRoot();
const MINUTES = 60_000;

const BUILT = /(^|\/)(node_modules|cache|dist|\.temp)\//;

/** Files of a folder by how their names end, without packages and what is built. */
function filesOf(folder: string, suffix: string): string[] {
  return readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith(suffix) && !BUILT.test(name))
    .map((name) => join(ROOT, folder, name));
}

describe('the tests', () => {
  it('call what they test with its own types', { timeout: 5 * MINUTES }, () => {
    const compiler = join(ROOT, 'node_modules', 'typescript', 'bin', 'tsc');
    const { stdout } = spawnSync(
      process.execPath,
      [compiler, '-p', 'test', '--pretty', 'false', '--listFiles'],
      { cwd: ROOT, encoding: 'utf8', maxBuffer: 64e6 },
    );
    const lines = stdout.split('\n').filter((line) => line !== '');
    expect(lines.filter((line) => !isAbsolute(line))).toEqual([]);
    const tests = filesOf('test', '.ts').filter((file) => !file.includes('/fixtures/'));
    expect(tests.length).toBeGreaterThan(200);
    expect(tests.filter((file) => !lines.includes(file))).toEqual([]);
  });
});

/** What the compiler says where a file is not there, or a name in it. */
const NOT_THERE =
  /Cannot find module|has no (exported member|default export)|on type 'typeof import\(/;

/** What programs import of `dist` and of each other, and is not in their sources. */
function missingImports(programs: readonly string[]): string[] {
  const options: ts.CompilerOptions = {
    allowJs: true,
    checkJs: true,
    noEmit: true,
    skipLibCheck: true,
    module: ts.ModuleKind.NodeNext,
    target: ts.ScriptTarget.ES2022,
    types: ['node'],
    rootDirs: [ROOT, join(ROOT, 'dist')], // of `dist` is taken what it is built of
    paths: { 'sda-tfjs': [join(ROOT, 'src', 'index.ts')] },
  };
  const host = ts.createCompilerHost(options);
  const { fileExists } = host;
  host.fileExists = (file) => !file.startsWith(join(ROOT, 'dist')) && fileExists(file);
  const whole = ts.createProgram(programs, options, host);
  return programs.flatMap((file) =>
    whole
      .getSemanticDiagnostics(whole.getSourceFile(file))
      .map(({ messageText }) => ts.flattenDiagnosticMessageText(messageText, ' '))
      .filter((message) => NOT_THERE.test(message))
      .map((message) => `${relative(ROOT, file)}: ${message.replaceAll(ROOT, '')}`),
  );
}

describe('programs that are not compiled', () => {
  it('import what is there', { timeout: 5 * MINUTES }, () => {
    const programs = ['bench', 'docs', 'examples', 'test'].flatMap((dir) => filesOf(dir, '.mjs'));
    expect(programs.length).toBeGreaterThan(20);
    const found = missingImports(programs);
    const isPlanted = (line: string) => line.startsWith('test/fixtures/wrong-imports/');
    expect(found.filter((line) => !isPlanted(line))).toEqual([]);
    const planted = ['noSuchName', 'no-such-file.js', 'noSuchCheck', 'no default', 'noSuchPath'];
    expect(found.filter(isPlanted)).toEqual(planted.map((name) => expect.stringContaining(name)));
  });
});
