import { cpSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { prefill } from '../../src/decode/prefill.js';
import { chunks, PREFILL_CHUNK } from '../../src/decode/streams.js';
import { loadModel, type SdaModel } from '../../src/generate/sda-model.js';
import type { GenerateRequest } from '../../src/generate/types.js';
import { forward } from '../../src/model/decoder.js';
import { hasNativeKernel } from '../../src/runtime/native.js';
import { batchOf, MISTRAL_DIR } from '../support/checkpoints.js';
import { expectClose } from '../support/close.js';
import { editJson, temporaryFolder } from '../support/folders.js';
import { cacheOf, expectSteps, stepsAlone } from '../support/steps.js';
import { expectNoLeak, useTensorFlow, valuesOf } from '../support/tensorflow.js';
import { TOLERANCE } from '../support/tolerances.js';

useTensorFlow();

/** What transformers gets; test/fixtures/long-context/make.py explains the keys. */
const { trained, border, cases } = JSON.parse(
  readFileSync(new URL('../fixtures/long-context/golden.json', import.meta.url), 'utf8'),
) as {
  readonly trained: number;
  readonly border: number;
  readonly cases: Readonly<Record<string, Case>>;
};
interface Case {
  readonly rope_parameters: Readonly<Record<string, unknown>>;
  readonly max_position_embeddings: number;
  readonly whole: number[];
  readonly border: number[][];
}

const idsOf = (count: number, start = 0) =>
  Array.from({ length: count }, (_, i) => i + start).map((i) => 3 + ((7 * i * i + 13 * i) % 64));
const LONG = idsOf(2 * trained);

async function withModel<T>(golden: Case, body: (model: SdaModel) => T | Promise<T>): Promise<T> {
  const dir = temporaryFolder();
  cpSync(MISTRAL_DIR, dir, { recursive: true });
  const { rope_parameters, max_position_embeddings } = golden;
  const changes = { sliding_window: null, rope_parameters, max_position_embeddings };
  editJson(join(dir, 'config.json'), changes);
  return expectNoLeak(async () => {
    const model = await loadModel(dir);
    try {
      return await body(model);
    } finally {
      model.dispose();
    }
  });
}

describe.each(Object.entries(cases))('%s beyond the trained length', (_, golden) => {
  test('has the logits of transformers in one prefill and in chunks', async () => {
    await withModel(golden, async (model) => {
      expect(model.maxContext).toBe(4 * trained);
      const cache = cacheOf(model.decoder, 1, 1, model.maxContext);
      const once = valuesOf(
        forward(model.decoder, batchOf([LONG], [0]), cache, { logits: 'last' })!,
      );
      cache.dispose();
      expectSteps([once], [golden.whole], TOLERANCE.logits);

      expect(chunks([{ row: 0, ids: LONG, start: 0 }]).length).toBeGreaterThan(1);
      expect(trained % PREFILL_CHUNK).not.toBe(0); // it lies inside a chunk
      expectSteps([[...(await model.logits(LONG))]], [golden.whole], TOLERANCE.logits);
    });
  });

  test('and as the prompts of a query, what they share run once', async () => {
    await withModel(golden, async ({ decoder, maxContext }) => {
      const cache = cacheOf(decoder, 2, 1, maxContext);
      const streams = [LONG, [...LONG.slice(0, -1), LONG[0]!]] as const;
      const options = { beforeForward: () => Promise.resolve() };
      const both = valuesOf(await prefill(decoder, streams, cache, options));
      cache.dispose();
      const first = both.slice(0, decoder.config.vocabSize);
      expectSteps([first], [golden.whole], TOLERANCE.logits);
    });
  });

  test('and token by token across it', async () => {
    await withModel(golden, ({ decoder, maxContext }) => {
      const ids = idsOf(golden.border.length - 1, border);
      expect(border).toBeLessThan(trained);
      expect(border + ids.length).toBeGreaterThan(trained);
      const steps = stepsAlone(decoder, idsOf(border), ids, maxContext);
      expectSteps(steps, golden.border, TOLERANCE.logits);
    });
  });

  test('and beside others, shorter and longer, what it has alone', async () => {
    await withModel(golden, async (model) => {
      const requests = [
        [20, 40],
        [border, trained + 20],
        [trained + 20, trained + 30],
        [trained - 2, trained - 1],
      ].map(
        ([base, instructed], seed): GenerateRequest => ({
          prompts: { baseIds: idsOf(base!), instructedIds: [4, ...idsOf(instructed!)] },
          maxTokens: 12,
          ignoreEos: true,
          settings: { k: 1, t0: 1, sigma: 1 },
          seed,
        }),
      );
      const together = await stepsOf(model, requests);
      for (const [index, request] of requests.entries()) {
        const [alone] = await stepsOf(model, [request]);
        if (hasNativeKernel('SdaDecoderLayers')) expect(together[index]).toEqual(alone);
        else expectClose(together[index]!.flat(), alone!.flat(), TOLERANCE.sameModel);
      }
    });
  });
});

/** Ids and statistics of each request's tokens. */
async function stepsOf(model: SdaModel, requests: readonly GenerateRequest[]) {
  const found: number[][][] = requests.map(() => []);
  for await (const batch of model.generateBatch(requests)) {
    for (const { query, step } of batch) {
      const { id, js, logp, logpBase, logpInstructed } = step;
      found[query]!.push([id, js, logp, logpBase, logpInstructed]);
    }
  }
  return found;
}
