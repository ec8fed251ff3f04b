import { describe, expect, test } from 'vitest';
import { checkBatch } from '../../src/decode/checks.js';
import type { Query } from '../../src/decode/generate.js';
import { decode } from '../../src/index.js';
import { loadDecoder } from '../../src/model/load-model.js';
import { checkpointDir } from '../support/checkpoints.js';
import { plainOptions, queryOf } from '../support/decoding.js';
import { errorOf, expectNoLeak, useTensorFlow } from '../support/tensorflow.js';

useTensorFlow();

const LIMITS = { vocabSize: 131, maxContext: 128 };
const GOOD = queryOf([[1], [2, 3]]);

/** A batch of a good query and one with a fault. */
function after(fault: object): Query[] {
  return [GOOD, { ...GOOD, ...fault } as Query];
}

const FAULTS: [string, Query[], string][] = [
  ['an empty list', [], 'There is no query to decode: give at least one.'],
  [
    'an undefined instructed prompt',
    after({ streams: [[1], undefined] }),
    'The instructed prompt of query 1 must be a list of token ids, but is undefined: give its ids, or leave it out to decode the base prompt alone.',
  ],
  [
    'an undefined base prompt',
    after({ streams: [undefined, [1]] }),
    'The base prompt of query 1 must be a list of token ids, but is undefined: give its ids.',
  ],
  [
    'ids that are no lists',
    after({ streams: [5, 6] }),
    'The base prompt of query 1 must be a list of token ids, but is 5: give its ids.',
  ],
  [
    'no prompt',
    after({ streams: [] }),
    'Query 1 must have one or two prompts, but has 0: give the base prompt and the instructed one, or the base prompt alone to decode plainly.',
  ],
  [
    'three prompts',
    after({ streams: [[1], [2], [3]] }),
    'Query 1 must have one or two prompts, but has 3: give the base prompt and the instructed one, or the base prompt alone to decode plainly.',
  ],
  [
    'an id that is missing',
    after({ streams: [[1], [2, undefined]] }),
    "The instructed prompt holds the token id undefined, but this model's ids are 0..130.",
  ],
  ...[0, -1, 1.5, Number.NaN, Number.POSITIVE_INFINITY, undefined].map(
    (maxTokens): [string, Query[], string] => [
      `maxTokens ${maxTokens}`,
      after({ maxTokens }),
      `maxTokens of query 1 must be a whole number of at least 1, but is ${maxTokens}.`,
    ],
  ),
  ...[undefined, null, 1].map((settings): [string, Query[], string] => [
    `settings ${settings}`,
    after({ settings: settings as never }),
    `settings of query 1 must be an object, but is ${settings}.`,
  ]),
  ...[Number.NaN, 0.5, undefined].map((seed): [string, Query[], string] => [
    `seed ${seed}`,
    after({ seed }),
    `seed of query 1 must be a whole number, but is ${seed}.`,
  ]),
];

describe('checkBatch', () => {
  test('says how many streams a query has, how many queries run at once, and what room they need', () => {
    const shape = { streams: 2, places: 3, room: 18, longest: 2 };
    expect(checkBatch([GOOD, GOOD, GOOD], LIMITS)).toEqual(shape);
    expect(checkBatch([GOOD, GOOD], { ...LIMITS, maxBatch: 1 })).toEqual({ ...shape, places: 1 });
    const long = queryOf([[1, 2, 3]], { maxTokens: 4 });
    const lines = [queryOf([[1]], { maxTokens: 5 }), long];
    const ones = { streams: 1, places: 2, room: 7, longest: 3 };
    expect(checkBatch(lines, { ...LIMITS, maxBatch: 9 })).toEqual(ones);
    expect(checkBatch(lines, { ...LIMITS, maxContext: 5 })).toEqual({ ...ones, room: 5 });
  });

  test.each(FAULTS)('refuses %s', (_, queries, message) => {
    expect(() => checkBatch(queries, LIMITS)).toThrowError(
      expect.objectContaining({ name: 'SdaError', code: 'bad-input', message }),
    );
  });

  test.each([0, 1, 1.5, Number.NaN])('refuses a context of %d', (maxContext) => {
    expect(() => checkBatch([GOOD], { ...LIMITS, maxContext })).toThrowError(
      expect.objectContaining({
        code: 'bad-input',
        message: `maxContext must be a whole number of at least 2, but is ${maxContext}.`,
      }),
    );
  });
});

test.each([
  ['amplification', Number.NaN, 'a finite number'],
  ['amplification', Number.POSITIVE_INFINITY, 'a finite number'],
  ['k', 0, 'a number above 0'],
  ['topP', 2, 'a number in 0..1'],
])('the rule refuses %s %d before anything is on the device', async (name, value, expected) => {
  const model = await loadDecoder(checkpointDir('tiny-llama'));
  const queries = after({ settings: { [name]: value } });
  const error = await expectNoLeak(() =>
    errorOf(() => decode(model, queries, plainOptions({})).next()),
  );
  expect(error).toMatchObject({
    code: 'bad-input',
    message: `${name} of query 1 must be ${expected}, but is ${value}.`,
  });
  model.dispose();
});

test('decode refuses all of it before anything is on the device', async () => {
  const model = await loadDecoder(checkpointDir('tiny-llama'));
  for (const [, queries, message] of FAULTS) {
    const first = () => decode(model, queries, plainOptions({})).next();
    const error = await expectNoLeak(() => errorOf(first));
    expect(error).toMatchObject({ code: 'bad-input', message });
  }
  model.dispose();
});
