import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { DecodeEvent, Query } from '../../src/decode/generate.js';
import { type LoadedDecoder, loadDecoder } from '../../src/model/load-model.js';
import { checkpointDir } from '../support/checkpoints.js';
import { expectSameTexts, plainOptions, queryOf, run } from '../support/decoding.js';
import { expectNoLeak, useTensorFlow } from '../support/tensorflow.js';

useTensorFlow();

const STEPS = 6;
const SAMPLED = { sigma: 1, topP: 1, t0: 1.2 };

/** How a text ends: at its limit, which is known before the token is read, or at its token, which is not. */
interface Ending {
  readonly at: number;
  readonly reason: 'length' | 'stop';
}

const ENDINGS = Array.from({ length: STEPS }, (_, i) => i + 1).flatMap((at): Ending[] => [
  { at, reason: 'length' },
  { at, reason: 'stop' },
]);

let model: LoadedDecoder;
beforeAll(async () => {
  model = await loadDecoder(checkpointDir('tiny-llama'));
});
afterAll(() => model.dispose());

/** Query `index` of a batch, whose text depends on nothing but its place and ending. */
function queryFor(index: number, { at, reason }: Ending): Query {
  const maxTokens = reason === 'length' ? at : STEPS + 3;
  return queryOf([[20 + index]], { seed: 60 + index, maxTokens });
}

/** @param first the place that the first of the endings stands for */
function decoded(
  endings: readonly Ending[],
  { readBehind, maxBatch, first = 0 }: { readBehind: boolean; maxBatch?: number; first?: number },
): Promise<{ events: DecodeEvent[][] }> {
  const queries = endings.map((ending, i) => queryFor(first + i, ending));
  const shown = endings.map(() => 0);
  const finished = (query: number) => {
    const { at, reason } = endings[query]!;
    return ++shown[query]! === at && reason === 'stop';
  };
  return run(model, queries, plainOptions(SAMPLED, { readBehind, maxBatch, finished }));
}

/** What the loop that waits for each step gives each query by itself. */
async function aloneOf(): Promise<Map<Ending, DecodeEvent[]>[]> {
  const places: Map<Ending, DecodeEvent[]>[] = [];
  for (const first of [0, 1, 2]) {
    const texts = new Map<Ending, DecodeEvent[]>();
    for (const ending of ENDINGS) {
      const { events } = await decoded([ending], { readBehind: false, first });
      expect(events[0]).toHaveLength(ending.at);
      expect(events[0]!.at(-1)!.finishReason).toBe(ending.reason);
      texts.set(ending, events[0]!);
    }
    places.push(texts);
  }
  return places;
}

/** All lists of `count` endings; where all run at once their order does not matter. */
function listsOf(count: number, ordered: boolean, from = 0): Ending[][] {
  if (count === 0) return [[]];
  return ENDINGS.slice(from).flatMap((ending, i) =>
    listsOf(count - 1, ordered, ordered ? 0 : from + i).map((rest) => [ending, ...rest]),
  );
}

describe('every way in which texts can end gives each its whole text and its reason', () => {
  let alone: Map<Ending, DecodeEvent[]>[];
  beforeAll(async () => {
    alone = await aloneOf();
  });

  test.each([
    [1, 1, 'behind', true],
    [2, 2, 'behind', true],
    [3, 3, 'behind', true],
    [2, 1, 'behind', true],
    [3, 2, 'behind', true],
    [1, 1, 'at once', false],
    [2, 2, 'at once', false],
    [3, 3, 'at once', false],
    [2, 1, 'at once', false],
  ])(
    '%d queries in %d places, read %s',
    async (count, maxBatch, _, readBehind) => {
      for (const endings of listsOf(count, maxBatch < count)) {
        const { events } = await decoded(endings, { readBehind, maxBatch });
        const expected = endings.map((ending, place) => alone[place]!.get(ending)!);
        expectSameTexts(events, expected);
      }
    },
    240_000, // 1,728 batches
  );
});

test('the last step is read where the one before it ends all that went on', async () => {
  const endings: Ending[] = [
    { at: 2, reason: 'stop' },
    { at: 3, reason: 'length' },
  ];
  const { events } = await expectNoLeak(() => decoded(endings, { readBehind: true }));
  expect(events.map((list) => list.map(({ finishReason }) => finishReason))).toEqual([
    [null, 'stop'],
    [null, null, 'length'],
  ]);
});
