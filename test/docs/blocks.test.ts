import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { packageRoot } from '../../src/runtime/paths.js';
import { type Block, blocksOf, PAGES, pageText, proseOf } from './blocks.js';
import { type Ran, Workspace } from './workspace.js';

const ROOT = packageRoot();
/** Blocks that are not run: those with a comment that says why. A new one is counted here too. */
const NOT_RUN: Readonly<Record<string, number>> = {
  'README.md': 1,
  'docs/checked.md': 1,
  'docs/cost.md': 2,
  'docs/experiments.md': 2,
  'docs/gpus.md': 2,
  'docs/notebook.md': 1,
  'docs/own-family.md': 1,
  'docs/own-kernel.md': 4,
  'docs/quantised.md': 1,
  'docs/serving.md': 2,
  'docs/start.md': 2,
  'docs/vllm.md': 5,
};
const SCRIPTS = new Set(['js', 'ts']);
const COMMANDS = new Set(['bash', 'console']);
/** Saved, and used by what comes after */
const DATA = new Set(['yaml', 'json', 'jsonl', 'jinja']);
/** Shown as they are */
const SHOWN = new Set(['text']);

const hasCurl = spawnSync('curl', ['--version']).status === 0;

const nameOf = ({ file, line, language }: Block) =>
  file ?? `line-${line}.${language === 'ts' ? 'ts' : 'mjs'}`;

/** Commands of a console block, each with what it prints; "..." stands for anything. */
function exchanges(text: string): { command: string; output: string }[] {
  const [, ...parts] = `\n${text}`.split(/\n\$ /);
  return parts.map((part) => {
    const [command, ...output] = part.split('\n');
    return { command: command!, output: output.join('\n').trimEnd() };
  });
}

function expectOutput({ stdout }: Ran, expected: string): void {
  const parts = expected.split('...').map((part) => part.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'));
  expect(stdout.trimEnd()).toMatch(new RegExp(`^${parts.join('[^]*')}$`));
}

async function run(block: Block, workspace: Workspace): Promise<void> {
  const done = (ran: Ran) => expect(ran.code, ran.all).toBe(0);
  if (block.excerptOf !== undefined) {
    expect(readFileSync(join(ROOT, block.excerptOf), 'utf8')).toContain(block.text);
  } else if (block.background) {
    await workspace.start(block.text);
  } else if (SCRIPTS.has(block.language)) {
    done(await workspace.script(nameOf(block), block.text));
  } else if (block.language === 'console') {
    for (const { command, output } of exchanges(block.text)) {
      const ran = await workspace.shell(command);
      done(ran);
      expectOutput(ran, output);
    }
  } else if (COMMANDS.has(block.language)) {
    done(await workspace.shell(block.text));
  } else if (block.file !== undefined) {
    const named = /^\/\/ .*\n/; // JSON has no comments
    workspace.save(block.file, block.text.replace(named, ''));
  }
}

describe.each(PAGES.filter((page) => blocksOf(page).length > 0))('%s', (page) => {
  let workspace: Workspace;
  beforeAll(() => {
    workspace = new Workspace();
  });
  afterAll(() => workspace.close());

  for (const block of blocksOf(page)) {
    if (SHOWN.has(block.language)) continue;
    test(`line ${block.line} (${block.language})`, { timeout: 300_000 }, async ({ skip }) => {
      skip(block.notRun !== undefined, `${page}: ${block.notRun}`);
      skip(/^curl /m.test(block.text) && !hasCurl, 'there is no curl on PATH');
      await run(block, workspace);
    });
  }
});

test('every block is of a kind that is run, saved or shown', () => {
  const blocks = PAGES.flatMap(blocksOf);
  const known = new Set([...SCRIPTS, ...COMMANDS, ...DATA, ...SHOWN]);
  const unknown = blocks.filter(
    ({ language, notRun, excerptOf }) =>
      !known.has(language) && notRun === undefined && excerptOf === undefined,
  );
  expect(unknown.map(({ page, line, language }) => `${page}:${line} ${language}`)).toEqual([]);
  const unsaved = blocks.filter(
    ({ language, file, notRun, excerptOf }) => DATA.has(language) && !file && !notRun && !excerptOf,
  );
  expect(unsaved.map(({ page, line }) => `${page}:${line} has no name`)).toEqual([]);
  const commands = blocks.filter(
    ({ language, text }) => SHOWN.has(language) && /^\s*(\$ )?(npx|npm|node|bash) /m.test(text),
  );
  expect(commands.map(({ page, line }) => `${page}:${line} is a command`)).toEqual([]);
});

test('what is indented is no code, which would escape these tests', () => {
  for (const page of PAGES) {
    const indented = /\n\n {4,}\S.*/.exec(proseOf(page));
    expect(indented && `${page}: ${indented[0].trim()}`).toBeNull();
  }
});

test('as many blocks are not run as are counted here', () => {
  const found = PAGES.map((page) => [
    page,
    blocksOf(page).filter(({ notRun }) => notRun !== undefined).length,
  ]).filter(([, count]) => count !== 0);
  expect(Object.fromEntries(found)).toEqual(NOT_RUN);
});

test('the README is short, and names the two commands that set up, show and test', () => {
  const text = pageText('README.md');
  expect(text.split('\n').length).toBeLessThan(120);
  for (const command of ['npm ci && npm run demo', 'npm ci && npm test']) {
    expect(text).toContain(command);
  }
  expect(text).toMatch(/^## Licence\n/m);
});

test('comments before blocks are those that are known', () => {
  for (const page of PAGES) {
    const said = [...pageText(page).matchAll(/^<!-- (.*) -->\n(?=```)/gm)].map(
      ([, words]) => words!,
    );
    const unknown = said.filter((words) => !/^(not run: |excerpt: |background$)/.test(words));
    expect(unknown).toEqual([]);
  }
});

describe('commands that are named', () => {
  const { scripts } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as {
    scripts: Record<string, string>;
  };
  const texts = PAGES.map((page) => [page, pageText(page)] as const);

  test('npm scripts and files that Node or bash run are there', () => {
    for (const [page, text] of texts) {
      for (const [, name] of text.matchAll(/npm run ([\w:-]+)/g)) {
        expect(Object.keys(scripts), `${page}: npm run ${name}`).toContain(name);
      }
      for (const [, file] of text.matchAll(/\b(?:node|bash) ([\w./-]+\.(?:mjs|js|sh))/g)) {
        const saved = blocksOf(page).some((block) => block.file === file);
        expect(saved || existsSync(join(ROOT, file!)), `${page}: ${file}`).toBe(true);
      }
    }
  });

  test('options of sda are those of the command', () => {
    const helps = new Map<string, string>();
    const help = (command: string) => {
      const known = helps.get(command);
      if (known !== undefined) return known;
      const main = join(ROOT, 'dist', 'src', 'cli', 'main.js');
      const text = execFileSync(process.execPath, [main, ...command.split(' '), '--help'], {
        encoding: 'utf8',
      });
      helps.set(command, text);
      return text;
    };
    for (const [page, text] of texts) {
      for (const [, command, rest] of text.matchAll(/npx sda ([a-z]+)\b([^`\n|&#>]*)/g)) {
        // a wrong one is an example, and those of a rule's file are found when they run
        if (/--modle|--rule \S*\.mjs/.test(rest!)) continue;
        const rule = /--rule ([a-z-]+)(?= |$)/.exec(rest!)?.[1];
        const said = help(rule && command === 'generate' ? `generate --rule ${rule}` : command!);
        for (const [option] of rest!.replace(/"[^"]*"|'[^']*'/g, '').matchAll(/--[a-z][\w-]*/g)) {
          expect(said, `${page}: npx sda ${command} ${option}`).toContain(option);
        }
      }
    }
  });
});

test('files of the repository that pages name are there', () => {
  for (const page of PAGES) {
    const named = proseOf(page).matchAll(
      /`((?:src|kernels|test|bench|docs|examples|weights)\/[\w./-]+)`/g,
    );
    for (const [, path] of named)
      expect(existsSync(join(ROOT, path!)), `${page}: ${path}`).toBe(true);
  }
});

test('JavaScript and TypeScript of the pages check against the types', { timeout: 300_000 }, () => {
  const workspace = new Workspace();
  try {
    const files = PAGES.flatMap((page) =>
      blocksOf(page)
        .filter(({ language, notRun, excerptOf }) => SCRIPTS.has(language) && !notRun && !excerptOf)
        .map((block) => {
          const file = join(page.replace(/\W/g, '-'), nameOf(block));
          workspace.save(file, block.text);
          return file;
        }),
    );
    const compiler = createRequire(import.meta.url).resolve('typescript/bin/tsc');
    const options = ['--allowJs', '--checkJs', '--noEmit', '--strict', '--skipLibCheck'];
    const target = ['--module', 'nodenext', '--target', 'es2022', '--types', 'node'];
    let said = '';
    try {
      execFileSync(process.execPath, [compiler, ...options, ...target, ...files], {
        cwd: workspace.dir,
        encoding: 'utf8',
      });
    } catch (error) {
      said = (error as { stdout: string }).stdout;
    }
    expect(said).toBe('');
  } finally {
    void workspace.close();
  }
});
