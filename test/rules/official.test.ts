import { afterAll, beforeAll, expect, test } from 'vitest';
import { decode, type Query } from '../../src/decode/generate.js';
import type { DecoderModel } from '../../src/model/decoder.js';
import { type LoadedDecoder, loadDecoder } from '../../src/model/load-model.js';
import { cfg } from '../../src/rules/cfg.js';
import { contextSteering, cos } from '../../src/rules/cos.js';
import { type Rule, resolveSettingsOf } from '../../src/rules/define.js';
import { defaultModelDir } from '../../src/runtime/paths.js';
import fixture from '../fixtures/rules/greedy.json' with { type: 'json' };
import { useTensorFlow } from '../support/tensorflow.js';

useTensorFlow();

let model: LoadedDecoder;
beforeAll(async () => {
  model = await loadDecoder(defaultModelDir(), { dtype: 'float32' });
});
afterAll(() => model.dispose());

const END = 2; // of this model

/** The greedy ids of each query, its end included, all in one batch. */
async function greedyIds(decoder: DecoderModel, rule: Rule, asked: readonly Asked[]) {
  const names = Object.keys(rule.streams);
  const queries = asked.map(
    ({ prompts, settings, ids }): Query<object> => ({
      streams: names.map((name) => prompts[name]!),
      settings: resolveSettingsOf(rule, { ...settings, greedy: true }) as object,
      seed: 0,
      maxTokens: Math.max(ids.length, 64),
    }),
  );
  const found: number[][] = asked.map(() => []);
  const options = { rule: rule.step, streams: names, stopIds: new Set([END]), maxContext: 512 };
  for await (const events of decode(decoder, queries, options)) {
    for (const { query, choice } of events) found[query]!.push(choice.id);
  }
  return found;
}

interface Asked {
  /** Token ids, by stream */
  readonly prompts: Readonly<Record<string, readonly number[]>>;
  readonly settings: object;
  readonly ids: readonly number[];
}

test.each([
  [
    'classifier-free guidance, those of transformers',
    cfg as Rule,
    fixture.cfg.map(({ weight, ids, ...prompts }) => ({ prompts, settings: { weight }, ids })),
  ],
  [
    'context steering, those of its code',
    cos as Rule,
    fixture.cos.map(({ lambda, ids, ...prompts }) => ({ prompts, settings: { lambda }, ids })),
  ],
  [
    'context steering by two contexts, those of its code',
    contextSteering(['teacher', 'child']) as Rule,
    fixture.cos_several.map(({ lambda, ids, ...prompts }) => ({
      prompts,
      settings: { lambda },
      ids,
    })),
  ],
])('greedy texts of %s', async (_, rule, asked) => {
  expect(await greedyIds(model, rule, asked)).toEqual(asked.map(({ ids }) => ids));
});
