import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { ALIGNER_PROMPT, alignerPrompt, alignerRequest } from '../../src/experiment/aligner.js';
import { type GenerateSummary, loadModel, type SdaModel } from '../../src/index.js';
import { defaultModelDir, packageRoot } from '../../src/runtime/paths.js';
import { loadTokenizer, type Tokenizer } from '../../src/text/tokenizer.js';
import { summaryOf } from '../support/answers.js';
import { copyOf } from '../support/folders.js';
import { errorOf, useTensorFlow } from '../support/tensorflow.js';
import { addTokenizer } from '../support/tiny-tokenizer.js';

interface GoldenPrompt {
  readonly query: string;
  readonly answer: string;
  readonly prompt: string;
  readonly ids: readonly number[];
}
/** From transformers; see make.py beside it. */
const golden = JSON.parse(
  readFileSync(new URL('../fixtures/aligner/golden.json', import.meta.url), 'utf8'),
) as {
  readonly llama2: readonly GoldenPrompt[];
  readonly smollm2: readonly GoldenPrompt[];
  readonly correction: GoldenPrompt & { readonly drawn: readonly number[] };
};
const LLAMA2 = join(packageRoot(), 'node_modules', '@lenml', 'tokenizer-llama2', 'models');

describe('alignerPrompt', () => {
  test.each([
    ['llama2', LLAMA2],
    ['smollm2', defaultModelDir()],
  ] as const)('has the ids that transformers gives with the tokenizer of %s', async (name, dir) => {
    const tokenizer = await loadTokenizer(dir);
    expect(golden[name][0]!.prompt).toBe(ALIGNER_PROMPT);
    for (const { ids, ...correction } of golden[name]) {
      expect(alignerPrompt(tokenizer, correction)).toEqual(ids);
    }
  });

  describe('with the tokenizer of Llama 2', () => {
    const given = { query: 'Hi?', answer: 'Ho.', prompt: ALIGNER_PROMPT };
    const [UNKNOWN, BOS, EOS] = [0, 1, 2];
    let tokenizer: Tokenizer;
    beforeAll(async () => {
      tokenizer = await loadTokenizer(LLAMA2);
    });

    test('the texts of special tokens in a query or an answer stay texts', () => {
      const ids = alignerPrompt(tokenizer, { ...given, query: '<s>Hi?</s>', answer: '<unk></s>' });
      expect(ids.indexOf(BOS)).toBe(0);
      expect(ids.filter((id) => [UNKNOWN, BOS, EOS].includes(id))).toEqual([BOS]);
      expect(tokenizer.decode(ids.slice(1))).toBe(
        ALIGNER_PROMPT.replace('{question}', '<s>Hi?</s>').replace('{answer}', '<unk></s>'),
      );
    });

    test('special tokens of the template are tokens', () => {
      const prompt = '{question}</s>{answer}';
      const ids = alignerPrompt(tokenizer, { ...given, prompt });
      expect(ids.filter((id) => [UNKNOWN, BOS, EOS].includes(id))).toEqual([BOS, EOS]);
    });

    test.each([
      ['an empty query', { query: ' ' }, /query is empty/],
      ['an empty answer', { answer: '\n' }, /answer is empty/],
      ['a template without the query', { prompt: '{answer}' }, /\{question\}/],
      ['a template without the answer', { prompt: '{question}' }, /\{answer\}/],
    ])('%s is refused', async (_, change, message) => {
      expect(await errorOf(() => alignerPrompt(tokenizer, { ...given, ...change }))).toMatchObject({
        code: 'bad-input',
        message: expect.stringMatching(message),
      });
    });
  });
});

describe('alignerRequest', () => {
  useTensorFlow();
  const { correction } = golden;
  const { query, answer, prompt, drawn } = correction;

  async function tinyModel(maxContext?: number): Promise<SdaModel> {
    const dir = copyOf('tiny-llama');
    addTokenizer(dir);
    const model = await loadModel(dir, { maxContext });
    onTestFinished(() => model.dispose());
    return model;
  }

  async function decode(
    model: SdaModel,
    requests: Parameters<SdaModel['generateBatch']>[0],
  ): Promise<GenerateSummary[]> {
    return summaryOf(model.generateBatch(requests));
  }

  test('corrects as transformers does with the same prompt', async () => {
    const model = await tinyModel();
    const settings = { mode: 'sda', greedy: true } as const;
    const request = await alignerRequest(model, {
      query,
      answer,
      prompt,
      settings,
      maxTokens: drawn.length,
    });
    const [summary] = await decode(model, [request]);
    expect(summary!.tokenIds).toEqual(drawn);
    expect(summary!.settings.mode).toBe('base');
    expect(summary!.promptTokens.base).toBe(correction.ids.length);
  });

  test('sampled corrections of a batch are those of plain decoding, each with its seed', async () => {
    const model = await tinyModel();
    const corrections = [
      { query, answer, prompt, seed: 3, maxTokens: 12 },
      { query: 'And a longer query?', answer, prompt, seed: 4, maxTokens: 7 },
    ];
    const requests = await Promise.all(corrections.map((each) => alignerRequest(model, each)));
    const batch = await decode(model, requests);
    const tokenizer = await model.tokenizer();
    for (const [i, { seed, maxTokens, ...texts }] of corrections.entries()) {
      const text = prompt.replace('{question}', texts.query).replace('{answer}', texts.answer);
      const ids = tokenizer.encode(text);
      const prompts = { baseIds: ids, instructedIds: ids };
      const plain = { prompts, settings: { mode: 'base' }, singleStream: true } as const;
      const [alone] = await decode(model, [{ ...plain, seed, maxTokens }]);
      expect(batch[i]!.tokenIds).toEqual(alone!.tokenIds);
    }
  });

  test('what the context does not hold is refused by itself, one token less is not', async () => {
    const { length } = correction.ids;
    const tight = await tinyModel(length + 1);
    expect(await alignerRequest(tight, { query, answer, prompt })).toBeDefined();
    const error = await errorOf(() =>
      alignerRequest(tight, { query, answer: `${answer}!`, prompt }),
    );
    expect(error).toMatchObject({
      code: 'context-exceeded',
      message: expect.stringContaining(`${length + 1} tokens`),
    });
  });
});
