import { afterAll, beforeAll, expect, test } from 'vitest';
import { EngineLoop } from '../../src/decode/engine-loop.js';
import type { Decoding } from '../../src/decode/running.js';
import type { Choice, StepRule } from '../../src/method/rule.js';
import { type LoadedDecoder, loadDecoder } from '../../src/model/load-model.js';
import { checkpointDir } from '../support/checkpoints.js';
import { expectSameBits } from '../support/decoding.js';
import { expectNoLeak, useTensorFlow } from '../support/tensorflow.js';

useTensorFlow();

let first: LoadedDecoder;
let second: LoadedDecoder;
beforeAll(async () => {
  first = await loadDecoder(checkpointDir('tiny-llama'));
  second = await loadDecoder(checkpointDir('tiny-llama-tied'));
});
afterAll(() => {
  first.dispose();
  second.dispose();
});

const CONTEXT = 64;
const PROMPTS = [
  [1, 5, 9, 13, 7],
  [1, 5, 9],
];

/** Tokens of each query, step by step, where a query may go on with another's text. */
type Script = readonly (readonly Choice[])[];

/** A rule that draws what is written, and keeps the logits that it is given. */
function written(script: Script, seen: Map<string, number[]>): StepRule<unknown> {
  const steps = new Map<number, number>();
  return async (logits, { queries }) => {
    const lines = (await logits.array()) as number[][];
    const streams = lines.length / queries!.length;
    return queries!.map((query, index) => {
      const step = steps.get(query) ?? 0;
      steps.set(query, step + 1);
      seen.set(`${query}, ${step}`, lines.slice(streams * index, streams * (index + 1)).flat());
      return script[query]![step]!;
    });
  };
}

function open(): EngineLoop {
  const room = { rows: 6, capacity: CONTEXT, most: CONTEXT };
  return new EngineLoop({
    models: new Map([
      [first, room],
      [second, room],
    ]),
    places: 3,
    maxWaiting: 9,
  });
}

/** Decodes the queries of a script together; what each step saw, and the tokens or the error of each query. */
async function decoded(script: Script, prompts = script.map(() => PROMPTS)) {
  const seen = new Map<string, number[]>();
  const engine = open();
  const decoding: Decoding = {
    rule: written(script, seen),
    models: [first, second],
    stopIds: new Set(),
    maxContext: CONTEXT,
  };
  const queries = script.map((choices, i) => ({
    streams: prompts[i]!,
    settings: {},
    seed: 0,
    maxTokens: choices.length,
  }));
  const found = await Promise.all(
    queries.map(async (query) => {
      const ids: number[] = [];
      try {
        for await (const { choice } of engine.decode(query, decoding)) ids.push(choice.id);
      } catch (error) {
        return error;
      }
      return ids;
    }),
  );
  await engine.close();
  return { seen, found };
}

const token = (id: number, continues?: number): Choice => ({ id, logp: 0, continues });
const tokens = (...ids: number[]) => ids.map((id) => token(id));

test('a fork goes on with the other text, in all streams, as if it had been its own', async () => {
  await expectNoLeak(async () => {
    const { seen, found } = await decoded([
      tokens(11, 12, 13, 14, 15),
      [...tokens(21, 22), token(23, 0), ...tokens(24, 25)],
      [...tokens(31, 32, 33), token(34, 1), ...tokens(35)],
    ]);
    expect(found).toEqual([
      [11, 12, 13, 14, 15],
      [21, 22, 23, 24, 25], // what was told before the fork has been told
      [31, 32, 33, 34, 35],
    ]);
    const own = await decoded([tokens(11, 12, 23, 24, 25), tokens(11, 12, 23, 34, 35)]);
    for (const [fork, alone, steps] of [
      [1, 0, [3, 4]],
      [2, 1, [4]],
    ] as const) {
      for (const step of steps) {
        expectSameBits(seen.get(`${fork}, ${step}`)!, own.seen.get(`${alone}, ${step}`)!);
      }
    }
    // before it, a text is its own, and the one that others go on with stays as it is
    expect(seen.get('1, 2')).not.toEqual(own.seen.get('0, 2'));
    const plain = await decoded([tokens(11, 12, 13, 14, 15)]);
    for (const step of [1, 2, 3, 4]) {
      expectSameBits(seen.get(`0, ${step}`)!, plain.seen.get(`0, ${step}`)!);
    }
  });
});

test('a fork in the last step has no row any more, and needs none', async () => {
  const { found } = await decoded([tokens(11, 12), [token(21), token(22, 0)]]);
  expect(found).toEqual([
    [11, 12],
    [21, 22],
  ]);
});

const REFUSED = {
  code: 'bad-input',
  message: expect.stringMatching(/^The rule lets query \d go on/),
};

test('a text cannot be that of a query that is not there, or goes on with another itself', async () => {
  const { found } = await decoded([
    tokens(11, 12, 13),
    [token(21), token(22, 0), token(23)],
    [token(31), token(32, 1), token(33)],
  ]);
  expect(found).toEqual([[11, 12, 13], [21, 22, 23], expect.objectContaining(REFUSED)]);
  const missing = await decoded([tokens(11, 12), [token(21, 7), token(22)]]);
  expect(missing.found).toEqual([[11, 12], expect.objectContaining(REFUSED)]);
});

test('a text cannot be that of a query with other prompts', async () => {
  const { found } = await decoded(
    [tokens(11, 12, 13), [token(21), token(22, 0), token(23)]],
    [PROMPTS, [PROMPTS[0]!, [2, 3]]],
  );
  expect(found).toEqual([[11, 12, 13], expect.objectContaining(REFUSED)]);
});
