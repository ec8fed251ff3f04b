import { memory } from '@tensorflow/tfjs-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  decode,
  type GenerateRequest,
  loadModel,
  resolveSettings,
  type SdaModel,
  type SdaStep,
  sdaRule,
} from '../../src/index.js';
import { readAll } from '../support/answers.js';
import { checkpointDir, golden } from '../support/checkpoints.js';
import { plainOptions, queryOf } from '../support/decoding.js';
import { expectNoLeak, useTensorFlow } from '../support/tensorflow.js';

useTensorFlow();

const { sda } = golden('tiny-llama');
const STEPS = 5;

let model: SdaModel;
beforeAll(async () => {
  model = await loadModel(checkpointDir('tiny-llama'));
});
afterAll(() => model.dispose());

interface Making {
  readonly rule?: SdaStep | undefined;
  readonly signal?: AbortSignal | undefined;
}

type Made = AsyncGenerator<unknown, unknown>;

function requestOf({ rule, signal }: Making): GenerateRequest {
  const prompts = { baseIds: sda.base, instructedIds: sda.instructed };
  return { prompts, maxTokens: STEPS, ignoreEos: true, rule, signal };
}

function decoded(readBehind: boolean) {
  return ({ rule, signal }: Making): Made => {
    const queries = [STEPS, STEPS - 2].map((maxTokens) =>
      queryOf([sda.base, sda.instructed], { maxTokens }),
    );
    const more = { readBehind, signal, maxBatch: 1, ...(rule && { rule }) };
    return decode(model.decoder, queries, plainOptions({}, more));
  };
}

const GENERATORS: [string, (making: Making) => Made][] = [
  ['generate', (making) => model.generate(requestOf(making))],
  [
    'generateBatch',
    (making) => model.generateBatch([requestOf(making), requestOf(making)], { maxBatch: 1 }),
  ],
  ['decode, read at once', decoded(false)],
  ['decode, read behind', decoded(true)],
];

/** Asks for `count` steps. */
async function advance(generator: Made, count: number): Promise<void> {
  for (let step = 0; step < count; step++) await generator.next();
}

/** A rule whose call number `call` fails. */
function failing(call: number, fail: () => never | Promise<never>): SdaStep {
  const own = sdaRule(resolveSettings());
  let calls = 0;
  return (logits, draws) => (calls++ === call ? fail() : own(logits, draws));
}

const gone = new Error('gone');

/** Every way in which an answer can end before its time. */
const WAYS: Record<string, (make: (making: Making) => Made, step: number) => Promise<void>> = {
  'return()': async (make, step) => {
    const generator = make({});
    await advance(generator, step);
    await generator.return(undefined);
    expect((await generator.next()).done).toBe(true);
  },
  break: async (make, step) => {
    let seen = 0;
    for await (const _ of make({})) if (seen++ === step) break;
  },
  'an error of the reader': async (make, step) => {
    let seen = 0;
    const reading = async () => {
      for await (const _ of make({})) if (seen++ === step) throw gone;
    };
    await expect(reading()).rejects.toBe(gone);
  },
  'throw()': async (make, step) => {
    const generator = make({});
    await advance(generator, step);
    await expect(generator.throw(gone)).rejects.toBe(gone);
  },
  'return() while a step is under way': async (make, step) => {
    const generator = make({});
    await advance(generator, step);
    const next = generator.next();
    await generator.return(undefined);
    await next;
  },
  'an abort': async (make, step) => {
    const stop = new AbortController();
    const generator = make({ signal: stop.signal });
    await advance(generator, step);
    stop.abort();
    await readAll(generator);
  },
  'an abort while a step is under way': async (make, step) => {
    const stop = new AbortController();
    const generator = make({ signal: stop.signal });
    await advance(generator, step);
    const next = generator.next();
    stop.abort();
    await next;
    await readAll(generator);
  },
  'a rule that throws': async (make, step) => {
    const rule = failing(step, () => {
      throw gone;
    });
    await expect(advance(make({ rule }), STEPS + 1)).rejects.toBe(gone);
  },
  'a rule that rejects': async (make, step) => {
    const rule = failing(step, () => Promise.reject(gone));
    await expect(advance(make({ rule }), STEPS + 1)).rejects.toBe(gone);
  },
};

describe.each(GENERATORS)('%s keeps nothing on the device', (_, make) => {
  const steps = Array.from({ length: STEPS }, (__, step) => step);

  test.each(Object.entries(WAYS))('after %s, at any step', async (__, leave) => {
    for (const step of steps) await expectNoLeak(() => leave(make, step));
  });

  test('after its own end', async () => {
    await expectNoLeak(() => advance(make({}), 2 * STEPS + 1));
  });
});

test('answers that were left keep nothing when their model is gone', async () => {
  const before = memory().numTensors;
  const other = await loadModel(checkpointDir('tiny-llama'));
  for await (const _ of other.generate(requestOf({}))) break;
  other.dispose();
  expect(memory().numTensors).toBe(before);
});
