import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import {
  createChatTemplate,
  loadChatTemplate,
  noChatTemplate,
} from '../../src/text/chat-template.js';
import { loadTokenizer } from '../../src/text/tokenizer.js';
import { loadTokenizerConfig } from '../../src/text/tokenizer-config.js';
import { temporaryFolder } from '../checkpoint/build.js';
import { FOLDERS, GOLDEN_DAY, readGolden, readJinja, tiny } from './golden.js';

const user = (content: string) => [{ role: 'user', content }] as const;
const template = (source: string) =>
  createChatTemplate(source, { origin: 'T', roles: { bos_token: '<s>' } });

describe.each(FOLDERS.filter(([name]) => readGolden(name).prompts?.length))('%s', (name, dir) => {
  it('gives the prompts that transformers gives', async () => {
    const [loaded, tokenizer] = [await loadChatTemplate(dir), await loadTokenizer(dir)];
    for (const prompt of readGolden(name).prompts ?? []) {
      const text = loaded?.render(prompt.messages, {
        addGenerationPrompt: prompt.add_generation_prompt,
        variables: prompt.variables,
        date: GOLDEN_DAY,
      });
      expect(text).toBe(prompt.text);
      expect(tokenizer.encode(prompt.text, { addSpecialTokens: false })).toEqual(prompt.ids);
    }
  });
});

describe('a template is what it is to Jinja2', () => {
  const { messages, cases } = readJinja();
  it.each(cases)('$source', ({ source, text }) => {
    const render = () => template(source).render(messages);
    if (text === null) expect(render).toThrow(expect.objectContaining({ code: 'bad-template' }));
    else expect(render()).toBe(text);
  });

  it.each(FOLDERS.filter(([name]) => readGolden(name).prompts?.length))(
    'saved with another newline: %s',
    async (name, dir) => {
      const [loaded, { roles }] = [await loadChatTemplate(dir), await loadTokenizerConfig(dir)];
      const [prompt] = readGolden(name).prompts!;
      for (const newline of ['\r\n', '\r']) {
        const source = loaded!.source.replaceAll('\n', newline);
        const text = createChatTemplate(source, { origin: 'T', roles }).render(prompt!.messages, {
          addGenerationPrompt: prompt!.add_generation_prompt,
          date: GOLDEN_DAY,
        });
        expect(text).toBe(prompt!.text);
      }
    },
  );
});

describe('where a template comes from', () => {
  const config = (chat_template: unknown) =>
    JSON.stringify({ chat_template, bos_token: { content: '<b>' } });
  const load = async (files: Record<string, string>, explicit?: string) =>
    (await loadChatTemplate(await temporaryFolder(files), explicit))?.render(user('x'));

  it.each([
    [
      'a text in tokenizer_config.json',
      { 'tokenizer_config.json': config('A{{ bos_token }}') },
      'A<b>',
    ],
    [
      'the default of a list',
      {
        'tokenizer_config.json': config([
          { name: 'tool_use', template: 'T' },
          { name: 'default', template: 'D' },
        ]),
      },
      'D',
    ],
    [
      'the only one of a list',
      { 'tokenizer_config.json': config([{ name: 'rag', template: 'R' }]) },
      'R',
    ],
    [
      'a file of its own first',
      { 'tokenizer_config.json': config('A'), 'chat_template.jinja': 'F{{ bos_token }}' },
      'F<b>',
    ],
    [
      'special_tokens_map.json for roles',
      {
        'chat_template.jinja': 'F{{ eos_token }}',
        'special_tokens_map.json': '{"eos_token":"</e>"}',
      },
      'F</e>',
    ],
    ['nowhere', { 'tokenizer_config.json': '{}' }, undefined],
    ['an empty list', { 'tokenizer_config.json': config([]) }, undefined],
    ['an empty folder', {}, undefined],
  ])('%s', async (_, files, expected) => {
    expect(await load(files as Record<string, string>)).toBe(expected);
  });

  it('explicit goes before all: a file, a text, a built-in name, none', async () => {
    const files = { 'chat_template.jinja': 'F', 'mine.jinja': 'M' };
    const dir = await temporaryFolder(files);
    expect((await loadChatTemplate(dir, join(dir, 'mine.jinja')))?.render(user('x'))).toBe('M');
    expect(await load(files, 'I{{ messages[0].content }}')).toBe('Ix');
    expect(await load(files, 'chatml')).toBe(
      '<|im_start|>user\nx<|im_end|>\n<|im_start|>assistant\n',
    );
    expect(await load(files, 'none')).toBe('x');
    await expect(load(files, 'absent.jinja')).rejects.toMatchObject({ code: 'file-missing' });
  });

  it('refuses a list without a default, and what is no template', async () => {
    const two = config([
      { name: 'a', template: 'A' },
      { name: 'b', template: 'B' },
    ]);
    await expect(load({ 'tokenizer_config.json': two })).rejects.toThrow(
      'a, b but none named default',
    );
    await expect(load({ 'tokenizer_config.json': config(7) })).rejects.toMatchObject({
      code: 'bad-tokenizer',
    });
    await expect(load({ 'chat_template.jinja': '{% if %}' })).rejects.toThrow('cannot be parsed');
  });
});

describe('built-in templates', () => {
  const turns = [
    { role: 'system', content: 'S' },
    { role: 'user', content: 'U' },
    { role: 'assistant', content: 'A' },
    { role: 'user', content: 'V' },
  ] as const;
  it.each([
    ['vicuna', '<s>S USER: U ASSISTANT: A</s> USER: V ASSISTANT:'],
    [
      'chatml',
      '<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nU<|im_end|>\n<|im_start|>assistant\nA<|im_end|>\n<|im_start|>user\nV<|im_end|>\n<|im_start|>assistant\n',
    ],
    ['llama-2', '<s>[INST] <<SYS>>\nS\n<</SYS>>\n\nU [/INST] A </s><s>[INST] V [/INST]'],
  ])('%s', async (name, expected) => {
    const loaded = await loadChatTemplate(tiny('byte-fallback'), name);
    expect(loaded?.render(turns)).toBe(expected);
    expect(loaded?.warnings).toEqual([]);
    expect(loaded?.render(user('U'))).toContain('U');
  });
});

describe('rendering', () => {
  it('repeats the text of raise_exception', async () => {
    const loaded = await loadChatTemplate(tiny('byte-fallback'));
    const messages = [{ role: 'system', content: 'S' }] as const;
    expect(() => loaded?.render(messages)).toThrow(
      'refuses these messages: System role not supported; --fold-system',
    );
    expect(() => loaded?.render(messages)).toThrow(
      expect.objectContaining({ code: 'bad-template' }),
    );
  });

  it('names what goes wrong otherwise', () => {
    expect(() => template('{{ messages[0].content.nothing() }}').render(user('x'))).toThrow(
      'of T cannot be rendered',
    );
    expect(() =>
      template('{% for i in range(1000000000) %}{% endfor %}').render(user('x')),
    ).toThrow('at most 20000');
    expect(() => template('{% for i in range(0, 5, 0) %}{% endfor %}').render(user('x'))).toThrow(
      'at most 20000',
    );
    expect(template('{{ range(3) }}{{ range(5, 1, -2) }}').render(user('x'))).toBe(
      'range(0, 3)range(5, 1, -2)',
    );
  });

  it('takes the date that is given', () => {
    const dated = template("{{ strftime_now('%d %b %Y') }}");
    expect(dated.render(user('x'), { date: new Date(2024, 6, 6, 12) })).toBe('06 Jul 2024');
    expect(dated.render(user('x'), { date: new Date(1999, 11, 31, 12) })).toBe('31 Dec 1999');
  });

  it('takes variables that it knows, whatever JSON can write, and no others', () => {
    const loaded = template('{{ a | tojson }}{% if b is defined %}{{ b.c }}{% endif %}');
    const variables = { a: [1, null, true, { d: 'x' }], b: { c: '\u00e9' } };
    expect(loaded.render(user('x'), { variables })).toBe('[1, null, true, {"d": "x"}]\u00e9');
    for (const name of ['ab', 'c d', '', '__proto__', '.']) {
      const other = Object.fromEntries([[name, 1]]);
      expect(() => loaded.render(user('x'), { variables: other })).toThrow(
        `The chat template of T has no variable ${JSON.stringify(name)}`,
      );
    }
    expect(() =>
      template('{{ messages }}').render(user('x'), { variables: { messages: [] } }),
    ).toThrow(expect.objectContaining({ code: 'bad-input' }));
  });

  it('says whether its prompts depend on the day', () => {
    expect(template('{% if strftime_now is defined %}{% endif %}').dated).toBe(true);
    expect(template("{{ 'now' }}").dated).toBe(false);
  });

  it('knows whether a template takes the generation prompt', () => {
    expect(template('{{ messages[0].content }}').warnings[0]).toContain(
      'of T ignores add_generation_prompt',
    );
    expect(template('{% if add_generation_prompt %}A{% endif %}').warnings).toEqual([]);
    expect(template("{{ raise_exception('no') }}").warnings).toEqual([]);
  });

  it('leaves no trace of one rendering in the next', () => {
    const counting = template('{% set n = (n or 0) + 1 %}{{ n }}');
    expect([counting.render(user('x')), counting.render(user('x'))]).toEqual(['1', '1']);
  });
});

it('says what to do without a template', () => {
  expect(noChatTemplate()).toMatchObject({ code: 'no-chat-template' });
  expect(noChatTemplate().message).toMatch(
    /^[^.]*chat_template\.jinja[^.]*tokenizer_config\.json.*--chat-template.*vicuna, chatml, llama-2, none[^.]*\.$/,
  );
});
