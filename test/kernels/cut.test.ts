import { tensor2d } from '@tensorflow/tfjs-core';
import { describe, expect, test } from 'vitest';
import { cut, cutSettings, type StreamCut } from '../../kernels/cut/index.js';
import { cutReference } from '../../kernels/cut/reference.js';
import { WITHOUT_NATIVE } from '../support/native.js';
import { Random } from '../support/random.js';
import { errorOf, expectNoLeak, useTensorFlow, valuesOf } from '../support/tensorflow.js';

useTensorFlow();

const { NaN: nan, NEGATIVE_INFINITY: masked } = Number;

/** The least kept logit of stream 1 of each query, by the native form and by the reference. */
function both(
  lines: readonly (readonly number[])[],
  cuts: readonly StreamCut[],
): [number[], number[]] {
  const [B, V] = [lines.length, lines[0]!.length];
  const other = lines[0]!.map((_, token) => 50 - token);
  const logits = tensor2d(Float32Array.from(lines.flatMap((line) => [...other, ...line])), [
    2 * B,
    V,
  ]);
  const settings = tensor2d(cutSettings(cuts), [B, 3]);
  const native = cut({ logits, settings, stream: 1 });
  const [reference] = cutReference({ logits, settings }, { stream: 1 });
  for (const tensor of [logits, settings]) tensor.dispose();
  return [valuesOf(native), valuesOf(reference!)];
}

/** By a sort in float64; a mass that reaches top-p but for 1e-6 of it reaches it. */
function leastOf(
  line: readonly number[],
  { topK = 0, topP = 1, temperature = 1 }: StreamCut,
): number {
  const counts = topK > 0 && topK < line.length;
  const ranked = line.filter((x) => x > masked).sort((a, b) => b - a);
  if ((!counts && topP >= 1) || ranked.length === 0) return masked;
  const kept = counts ? ranked.slice(0, topK) : ranked;
  if (topP >= 1) return kept.at(-1)!;
  const masses = kept.map((x) => Math.exp((x - kept[0]!) / temperature));
  const target = topP * (1 - 1e-6) * masses.reduce((sum, mass) => sum + mass);
  let [sum, last] = [masses[0]!, 0];
  while (sum < target) sum += masses[++last]!;
  return kept[last]!;
}

const CUTS: readonly StreamCut[] = [
  {},
  { topP: 0.9 },
  { topP: 0 },
  { topP: 0.8, temperature: 0.5 },
  { topP: 0.6, temperature: 3 },
  { topK: 1 },
  { topK: 40 },
  { topK: 50, topP: 0.9 },
];

describe('cut', () => {
  test.each([1, 7, 1000, 32_003])('is a sort in float64, V = %i', async (V) => {
    const random = new Random(V);
    const lines = CUTS.map(() => [...random.normals(V, 3)]);
    const expected = lines.map((line, query) => leastOf(line, CUTS[query]!));
    for (const found of await expectNoLeak(() => both(lines, CUTS)))
      expect(found).toEqual(expected);
    lines.forEach((line, query) => {
      expect(both([line], [CUTS[query]!])[0]).toEqual([expected[query]]);
    });
  });

  test('of a large vocabulary, native and reference', () => {
    const line = [...new Random(1).normals(151_936, 3)];
    for (const settings of CUTS) {
      const [[native], [reference]] = both([line], [settings]);
      expect(native).toBe(reference);
      expect(native).toBe(leastOf(line, settings));
    }
  });

  test('keeps all tokens with the logit of the last kept one', () => {
    const ties = [2, 1, 1, 1, 0];
    for (const found of both([ties, ties, ties], [{ topK: 2 }, { topK: 4 }, { topP: 0.6 }])) {
      expect(found).toEqual([1, 1, 1]);
    }
  });

  test('counts of ties as many as fill top-k where top-p follows', () => {
    const flat = Array(10).fill(0.5);
    const line = [1, ...flat];
    for (const found of both([line], [{ topK: 3, topP: 0.4 }])) expect(found).toEqual([1]);
    for (const found of both([flat], [{ topK: 3, topP: 0.4 }])) expect(found).toEqual([0.5]);
  });

  test('leaves out what is impossible, and says -Infinity where nothing is possible or cut', () => {
    const half = [masked, 3, masked, 1];
    const none = [masked, masked, masked, masked];
    for (const found of both(
      [half, half, half, none],
      [{ topK: 3 }, { topP: 0.99 }, {}, { topK: 1 }],
    )) {
      expect(found).toEqual([1, 1, masked, masked]);
    }
  });

  test('does not stop at NaN: the step names it', ({ skip }) => {
    skip(...WITHOUT_NATIVE);
    const [native] = both([[nan, 2, 1, 0]], [{ topK: 2 }]);
    expect(native).toEqual([1]);
  });

  test('names what is wrong', async () => {
    const logits = tensor2d(new Float32Array(12), [4, 3]);
    const settings = tensor2d(cutSettings([{}, {}]), [2, 3]);
    const messages: [() => unknown, string][] = [
      [() => cut({ logits, settings, stream: 2 }), 'cut: stream must be 0 to 1, but is 2.'],
      [
        () => cutSettings([{ temperature: 0 }]),
        'cut: temperature of query 0 must be a number above 0, but is 0.',
      ],
      [
        () => cutSettings([{ topP: -1 }]),
        'cut: topP of query 0 must be a number in 0..1, but is -1.',
      ],
    ];
    for (const [body, message] of messages) {
      expect(await errorOf(body)).toMatchObject({ message });
    }
    const wide = tensor2d(new Float32Array(8), [2, 4]);
    expect(await errorOf(() => cut({ logits, settings: wide, stream: 0 }))).toMatchObject({
      code: 'bad-tensor',
      message: 'cut: settings must have the shape [any, 3], but has [2, 4].',
    });
    for (const tensor of [logits, settings, wide]) tensor.dispose();
  });
});
