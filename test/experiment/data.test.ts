import { readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import { parseSpec } from '../../src/evaluate/create.js';
import { readConfig } from '../../src/experiment/config.js';
import { dataSetSchema, loadDataSet } from '../../src/experiment/data/index.js';
import { packageRoot } from '../../src/runtime/paths.js';
import { temporaryFolder } from '../support/folders.js';
import { errorOf } from '../support/tensorflow.js';

const EXAMPLES = join(packageRoot(), 'examples');

const load = (spec: object) => loadDataSet(parseSpec(dataSetSchema, spec, 'data'));

function fileOf(content: string | Uint8Array, name = 'd.jsonl'): string {
  const file = join(temporaryFolder(), name);
  writeFileSync(file, content);
  return file;
}
const lines = (...rows: object[]) => rows.map((row) => `${JSON.stringify(row)}\n`).join('');

describe('published formats', () => {
  test('E-Dialogue: the first utterance of each conversation, with its commas', async () => {
    const file = fileOf(
      lines(
        { conv_id: 'hit:1', utterance_idx: 2, context: 'sad', prompt: 'P', utterance: 'Oh.' },
        {
          conv_id: 'hit:1',
          utterance_idx: 1,
          context: 'sad',
          prompt: 'P',
          utterance: 'Well_comma_ hi.',
        },
        { conv_id: 'hit:2', utterance_idx: 1, context: 'glad', prompt: 'P', utterance: 'Yes!' },
      ),
    );
    const { items, notes } = await load({ set: 'e-dialogue', file });
    expect(items).toEqual([
      { id: 'hit:1', query: 'Well, hi.', labels: { emotion: 'sad' } },
      { id: 'hit:2', query: 'Yes!', labels: { emotion: 'glad' } },
    ]);
    expect(notes).toEqual([expect.stringContaining('3 rows hold 2 queries')]);
  });

  test('DialogSum: a request for a summary', async () => {
    const file = fileOf(
      lines({ fname: 'test_0', dialogue: 'A: Hi.\nB: Hi.', summary: 's', topic: 't' }),
    );
    const { items } = await load({ set: 'dialogsum', file });
    expect(items[0]).toMatchObject({ id: 'test_0', labels: { topic: 't' } });
    expect(items[0]!.query).toMatch(/^Summarise .*\n\nA: Hi\.\nB: Hi\.$/s);
  });

  test('BeaverTails: each prompt once, with the categories that are set', async () => {
    const category = { animal_abuse: false, 'hate_speech,offensive_language': true };
    const file = fileOf(
      lines(
        { prompt: 'A?', response: '1', category, is_safe: false },
        { prompt: 'A?', response: '2', category, is_safe: true },
        { prompt: 'B?', response: '3', category: { animal_abuse: false }, is_safe: true },
        { prompt: 'C?', category: 'terrorism' },
      ),
    );
    const { items } = await load({ set: 'beavertails', file });
    expect(items).toEqual([
      { id: '1', query: 'A?', labels: { category: 'hate_speech,offensive_language' } },
      { id: '3', query: 'B?', labels: { category: 'none' } },
      { id: '4', query: 'C?', labels: { category: 'terrorism' } },
    ]);
  });

  test('HarmfulQA as a JSON array, TruthfulQA with either spelling', async () => {
    const harmful = [{ id: 7, topic: 'T', subtopic: 'S', question: 'Q?', red_conversations: {} }];
    const { items } = await load({ set: 'harmfulqa', file: fileOf(JSON.stringify(harmful)) });
    expect(items).toEqual([{ id: '7', query: 'Q?', labels: { topic: 'T', subtopic: 'S' } }]);
    const truthful = lines({ question: 'a?', category: 'c', type: 'y' }, { Question: 'b?' });
    const { items: both } = await load({ set: 'truthfulqa', file: fileOf(truthful) });
    expect(both.map(({ query }) => query)).toEqual(['a?', 'b?']);
  });

  test.each([
    'e-dialogue.jsonl',
    'dialogsum.jsonl',
    'beavertails.jsonl',
    'harmfulqa.json',
    'truthfulqa.jsonl',
  ])('the example %s has 12 queries', async (name) => {
    const set = name.replace(/\..*/, '');
    const { items } = await load({ set, file: join(EXAMPLES, 'data', name) });
    expect(items).toHaveLength(12);
    expect(items.every(({ labels }) => Object.keys(labels).length > 0)).toBe(true);
  });
});

describe('any other file', () => {
  const fields = { id: 'meta.key', query: 'q', labels: ['kind'] };
  const row = (key: string | number, q: string) => ({ meta: { key }, q, kind: 'k' });

  test('is read by the names of its fields, also inside others, and put into a template', async () => {
    const file = fileOf(lines(row('a', 'x'), row(2, 'y $& z')));
    const { items, name } = await load({ file, fields, template: 'Say: {query}!' });
    expect(items).toEqual([
      { id: 'a', query: 'Say: x!', labels: { kind: 'k' } },
      { id: '2', query: 'Say: y $& z!', labels: { kind: 'k' } },
    ]);
    expect(name).toBe('d');
  });

  test('may have a byte order mark, CRLF, blank lines, no last line end, or be one object with the rows', async () => {
    const text = `\uFEFF${JSON.stringify(row(1, 'x'))}\r\n\r\n${JSON.stringify(row(2, 'y'))}`;
    expect((await load({ file: fileOf(text), fields })).items).toHaveLength(2);
    const wrapped = JSON.stringify({ version: 1, data: [row(1, 'x')] });
    expect((await load({ file: fileOf(wrapped), fields })).items).toHaveLength(1);
    expect((await load({ file: fileOf(lines(row(1, 'x'))), fields })).items).toHaveLength(1);
  });

  test('keeps numbers beyond 2^53 as they are written', async () => {
    const ids = ['9007199254740993', '9007199254740992', '-12345678901234567890', '7'];
    const rows = ids.map(
      (id) => `{"meta": {"key": ${id}}, "q": "a \\"1234567890123456789\\", 0.5"}`,
    );
    for (const text of [rows.join('\n'), `[${rows.join(',')}]`, `{"data": [${rows.join(',')}]}`]) {
      const { items } = await load({ file: fileOf(text), fields });
      expect(items.map(({ id }) => id)).toEqual(ids);
      expect(items[0]!.query).toBe('a "1234567890123456789", 0.5');
    }
    const decimals = '{"meta": {"key": 0.1234567890123456}, "q": "x", "kind": 12345678901234567.5}';
    const { items } = await load({ file: fileOf(decimals), fields });
    expect(items[0]!.id).toBe('0.1234567890123456');
    const group = (id: string) => `{"conv_id": ${id}, "utterance_idx": 1, "utterance": "x"}\n`;
    const file = fileOf(group('9007199254740992') + group('9007199254740993'));
    expect((await load({ set: 'e-dialogue', file })).items).toHaveLength(2);
  });

  test('gives its part by offset and limit, or a sample that a seed fixes', async () => {
    const file = fileOf(lines(...Array.from({ length: 200 }, (_, i) => row(i, `q${i}`))));
    const ids = async (more: object) =>
      (await load({ file, fields, ...more })).items.map(({ id }) => Number(id));
    expect(await ids({ offset: 5, limit: 3 })).toEqual([5, 6, 7]);
    const sample = await ids({ sample: 20, sample_seed: 3 });
    expect(sample).toHaveLength(20);
    expect(sample).toEqual([...new Set(sample)].sort((a, b) => a - b));
    expect(await ids({ sample: 20, sample_seed: 3 })).toEqual(sample);
    expect(await ids({ sample: 20, sample_seed: 4 })).not.toEqual(sample);
    expect(await ids({ sample: 500 })).toHaveLength(200);
  });

  test.each<[string, string | Uint8Array, RegExp]>([
    [
      'a missing query',
      lines(row(1, 'x'), { meta: { key: 2 }, kind: 'k' }),
      /line 2: expected a query as text in "q", there is none \(fields: meta, kind\)/,
    ],
    ['an empty query', lines(row(1, '  ')), /line 1: expected a query as text/],
    ['a query that is a number', lines({ ...row(1, ''), q: 7 }), /line 1: .* found 7/],
    [
      'a missing id',
      lines({ q: 'x' }),
      /line 1: expected an id as text or number in "meta\.key", found undefined/,
    ],
    [
      'an id twice',
      lines(row(1, 'x'), row(2, 'y'), row(1, 'z')),
      /line 3: the id "1" is that of line 1 already/,
    ],
    [
      'a broken line',
      `${lines(row(1, 'x'))}{"q": \n`,
      /line 2: expected a JSON object, found "\{\\"q\\":"; the file must be JSONL, or one JSON array/,
    ],
    [
      'NaN in a line',
      `${lines(row(1, 'x'))}\n{"meta": {"key": 2}, "q": "NaN?", "kind": NaN}\n`,
      /line 3: found NaN, which is no value of JSON; write null there, or leave the field out\.$/,
    ],
    ['-Infinity in an array', '[\n{"q": "x"},\n{"q": -Infinity}\n]', /line 3: found -Infinity, /],
    ["Python's values", '{"q": None}\n', /line 1: found None, /],
    [
      'another fault, before NaN and with it in a text',
      '{"q": "NaN", }\n{"q": NaN}\n',
      /line 1: expected a JSON object, found/,
    ],
    ['a line that is no object', '[1]\n"x"\n', /expected an object, found/],
    [
      'an item that is no object',
      '[{"meta": {"key": 1}, "q": "x"}, 3]',
      /item 2: expected an object, found 3/,
    ],
    ['nothing', '\n \n', /holds no row/],
    ['bytes that are no UTF-8', Uint8Array.from([123, 255, 254]), /is not UTF-8 text/],
    ['a compressed file', gzipSync(lines(row(1, 'x'))), /is not UTF-8 text/],
  ])('with %s is refused', async (_, content, message) => {
    const file = fileOf(content);
    const error = await errorOf(() => load({ file, fields }));
    expect(error).toMatchObject({ code: 'bad-file', message: expect.stringMatching(message) });
    expect(String(error)).toContain(file);
  });

  test.each<[object, RegExp]>([
    [{}, /data: .*/],
    [{ file: 'x' }, /needs a set \(e-dialogue, .*\) or fields/],
    [{ set: 'squad', file: 'x' }, /data: .*set.*e-dialogue/],
    [{ file: 'x', fields: { query: 'q' }, limt: 3 }, /unknown key limt/],
    [{ file: 'x', fields: { query: 'q' }, template: 'no place' }, /\{query\}/],
    [{ file: 'no/such.jsonl', fields: { query: 'q' } }, /no\/such\.jsonl/],
    [
      { file: join(EXAMPLES, 'data/plain.jsonl'), fields: { query: 'question' }, offset: 50 },
      /offset 50 leaves none/,
    ],
    [
      {
        file: join(EXAMPLES, 'data/plain.jsonl'),
        fields: { query: 'question' },
        limit: 1,
        sample: 1,
      },
      /not both/,
    ],
  ])('named by %j is refused', async (spec, message) => {
    expect(String(await errorOf(() => load(spec)))).toMatch(message);
  });
});

describe('the example configurations', () => {
  test.each(readdirSync(EXAMPLES).filter((name) => name.endsWith('.yaml')))(
    '%s is one',
    async (name) => {
      const config = await readConfig(join(EXAMPLES, name));
      expect(config.methods).toContain('sda');
    },
  );
});
