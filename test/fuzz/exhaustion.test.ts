import { execFile, execFileSync } from 'node:child_process';
import { symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { packageRoot } from '../../src/runtime/paths.js';
import { buildFile } from '../checkpoint/build.js';
import { checkpointDir } from '../support/checkpoints.js';
import { sda } from '../support/cli.js';
import { temporaryFolder } from '../support/folders.js';
import { expectAgreement } from './agreement.js';

/** The built module, for a process of its own. */
const built = (path: string) => pathToFileURL(join(packageRoot(), 'dist', 'src', path)).href;

/** Runs a module with a small heap; its lines are what it prints. A process that dies or hangs throws. */
async function alone(script: string): Promise<string[]> {
  const { stdout } = await promisify(execFile)(
    process.execPath,
    ['--max-old-space-size=512', '--input-type=module', '--eval', script],
    { timeout: 60_000 },
  );
  return stdout.trim().split('\n');
}

const doubled = (from: string, to: string) => ({
  type: 'Replace',
  pattern: { String: from },
  content: to,
});
const sequence = (decoders: unknown[]) => ({ type: 'Sequence', decoders });

describe('what would exhaust the heap', () => {
  it.each([
    ['a decoder that doubles', { decoder: sequence(Array(40).fill(doubled('a', 'aa'))) }],
    [
      'a decoder that multiplies',
      { decoder: sequence(Array(3).fill(doubled('', 'x'.repeat(9999)))) },
    ],
    [
      'a normalizer that doubles',
      { normalizer: { type: 'Sequence', normalizers: Array(40).fill(doubled('a', 'aa')) } },
    ],
  ])('%s is an error of the tokenizer', async (_, part) => {
    const json = { model: { type: 'BPE', vocab: { a: 0, b: 1 }, merges: [] }, ...part };
    const lines = await alone(`
      import { createTokenizer } from ${JSON.stringify(built('text/tokenizer.js'))};
      const config = { file: 'C', roles: {}, extraSpecialTokens: [], addedTokens: [], chatTemplate: null };
      const tokenizer = createTokenizer(${JSON.stringify(json)}, { file: 'T', config });
      let code = 'none';
      for (const use of [() => tokenizer.encode('aab'.repeat(100)), () => tokenizer.decode([0, 1, 0])]) {
        try { use(); } catch (error) { code = error.code; }
      }
      console.log(code);`);
    expect(lines).toEqual(['bad-tokenizer']);
  });

  const many = `{% set l = [1] %}${'{% set l = l + l %}'.repeat(14)}`;
  it.each([
    [
      'a list of long texts joined',
      `${many}{% set t = 'aaaaaaaa' %}${'{% set t = t ~ t %}'.repeat(20)}{{ l | map('string') | join(t) }}`,
    ],
    [
      'a list that holds itself twice',
      `{% set x = 1 %}${'{% set x = [x, x] %}'.repeat(60)}{{ x }}`,
    ],
    ['the same as JSON', `{% set x = 1 %}${'{% set x = [x, x] %}'.repeat(60)}{{ x | tojson }}`],
    [
      'an object that does',
      `{% set x = 1 %}${'{% set x = {"a": x, "b": x} %}'.repeat(60)}{{ x | tojson }}`,
    ],
    [
      'replacements of nothing',
      `{% set t = 'a' %}${"{% set t = t | replace('', t) %}".repeat(40)}{{ t }}`,
    ],
    [
      'lists in a loop',
      `${many}{% set ns = namespace(l=[]) %}{% for i in l %}{% set ns.l = ns.l + [l + [i]] %}{% endfor %}{{ ns.l | length }}`,
    ],
    ['wide indentation', '{{ messages | tojson(indent=999999999) }}'],
    [
      'a macro that calls itself with more',
      '{% macro f(x) %}{{ f(x ~ x) }}{% endmacro %}{{ f("ab") }}',
    ],
  ])('%s is an error of the template or a result', async (_, source) => {
    const lines = await alone(`
      import { createChatTemplate } from ${JSON.stringify(built('text/chat-template.js'))};
      let end = 'none';
      try {
        const template = createChatTemplate(${JSON.stringify(source)}, { origin: 'T', roles: {} });
        end = typeof template.render([{ role: 'user', content: 'Hi' }]);
      } catch (error) { end = error.code; }
      console.log(end);`);
    expect(['bad-template', 'string']).toContain(lines.join());
  });

  it('a small file that claims a header of 90 MB', async () => {
    const file = join(temporaryFolder(), 'claim.safetensors');
    writeFileSync(file, buildFile('{}', 200, 90_000_000n));
    const lines = await alone(`
      import { readHeader } from ${JSON.stringify(built('checkpoint/safetensors.js'))};
      const before = process.memoryUsage();
      const code = await readHeader(${JSON.stringify(file)}).catch((error) => error.code);
      const after = process.memoryUsage();
      console.log(code);
      console.log(after.arrayBuffers - before.arrayBuffers < 1e6, after.heapUsed - before.heapUsed < 1e7);`);
    expect(lines).toEqual(['bad-file', 'true true']);
  });
});

describe('a folder whose files are no files', () => {
  it.each(['config.json', 'generation_config.json', 'model.safetensors', 'tokenizer_config.json'])(
    '%s as a pipe or an endless device',
    async (name) => {
      for (const kind of ['pipe', 'device']) {
        const dir = temporaryFolder();
        for (const other of ['config.json', 'generation_config.json']) {
          if (other !== name)
            symlinkSync(join(checkpointDir('tiny-llama'), other), join(dir, other));
        }
        if (kind === 'pipe') execFileSync('mkfifo', [join(dir, name)]);
        else symlinkSync('/dev/zero', join(dir, name));
        const { code, stdout, stderr } = await sda(['inspect', '--model', dir]);
        expect([code, stderr]).toEqual([1, '']);
        expect(stdout).toContain(join(dir, name));
        expect(stdout).toContain('not a regular file');
        await expectAgreement(dir);
      }
    },
  );
});

it('a dtype that objects inherit is a name like any other', async () => {
  const dir = temporaryFolder();
  symlinkSync(join(checkpointDir('tiny-llama'), 'config.json'), join(dir, 'config.json'));
  const entry = (dtype: string, begin: number) =>
    `"${dtype}.t":{"dtype":"${dtype}","shape":[4],"data_offsets":[${begin},${begin + 4}]}`;
  const header = `{${entry('__proto__', 0)},${entry('constructor', 4)}}`;
  writeFileSync(join(dir, 'model.safetensors'), buildFile(header, 8));
  const { code, stdout, stderr } = await sda(['inspect', '--model', dir, '--json']);
  expect([code, stderr]).toEqual([1, '']);
  const { dtypes } = JSON.parse(stdout) as { dtypes: Record<string, unknown> };
  expect(Object.entries(dtypes)).toEqual([
    ['__proto__', { tensors: 1, parameters: 4, bytes: 4 }],
    ['constructor', { tensors: 1, parameters: 4, bytes: 4 }],
  ]);
});
