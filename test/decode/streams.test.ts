import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  checkStreams,
  chunks,
  firstChunk,
  PREFILL_CHUNK,
  type Stretch,
  sharedPrefixLength,
} from '../../src/decode/streams.js';

describe('sharedPrefixLength', () => {
  test.each<[number[], number[] | null, number]>([
    [[1, 2, 3], [1, 2, 4, 5], 2],
    [[1, 2, 3], [4, 2, 3], 0],
    [[1, 2, 3], [1, 2, 3], 2], // one token of each is left to run
    [[1, 2], [1, 2, 3], 1],
    [[1], [1], 0],
    [[1, 2, 3], null, 0],
  ])('%j and %j share %i', (base, instructed, expected) => {
    expect(sharedPrefixLength(instructed ? [base, instructed] : [base])).toBe(expected);
  });
});

describe('firstChunk', () => {
  const ids = Array.from({ length: 19 }, (_, i) => i);

  test.each([
    [8, [0, 8], true],
    [4, [0, 4], true],
    [19, [0, 19], false],
    [500, [0, 19], false],
  ] as const)('of one stretch and %i tokens begins at its beginning', (most, [from, to], more) => {
    const found = firstChunk([{ row: 2, ids, start: 5 }], most);
    expect([...found.batch.ids]).toEqual(ids.slice(from, to));
    expect([...found.batch.positions]).toEqual(ids.slice(from, to).map((id) => id + 5));
    expect([...found.batch.rows]).toEqual([2]);
    expect(found.more).toBe(more);
  });

  test('of several stretches is the first of chunks, so that all end together', () => {
    const stretches = [
      { row: 0, ids, start: 0 },
      { row: 1, ids: ids.slice(0, 18), start: 0 },
    ];
    const [batch] = chunks(stretches, 8);
    expect(firstChunk(stretches, 8)).toEqual({ batch, more: true });
  });
});

describe('chunks', () => {
  const stretch = fc.record({
    length: fc.integer({ min: 1, max: 3 * PREFILL_CHUNK }),
    start: fc.integer({ min: 0, max: 50 }),
  });

  test('run every token once, in order, at its position, and end together in the last batch', () => {
    fc.assert(
      fc.property(fc.array(stretch, { minLength: 1, maxLength: 5 }), (shapes) => {
        const stretches = shapes.map(
          ({ length, start }, row): Stretch => ({
            row: 10 + row,
            start,
            ids: Array.from({ length }, (_, i) => 1000 * row + i),
          }),
        );
        const seen = new Map(stretches.map(({ row }) => [row, [] as number[][]]));
        const batches = chunks(stretches);
        for (const { ids, positions, rows } of batches) {
          const columns = ids.length / rows.length;
          expect(columns).toBeLessThanOrEqual(PREFILL_CHUNK);
          const padded = positions.filter((position) => position < 0).length;
          expect(padded).toBeLessThan(16 * rows.length); // only to make a batch wide enough
          rows.forEach((row, line) => {
            const real: number[][] = [];
            for (let i = line * columns; i < (line + 1) * columns; i++) {
              if (positions[i]! >= 0) real.push([ids[i]!, positions[i]!]);
              else expect(real).toEqual([]); // padding is on the left
            }
            expect(real.length).toBeGreaterThan(0);
            seen.get(row)!.push(...real);
          });
        }
        for (const { row, ids, start } of stretches) {
          expect(seen.get(row)).toEqual(ids.map((id, i) => [id, start + i]));
        }
        expect([...batches.at(-1)!.rows]).toEqual(stretches.map(({ row }) => row));
      }),
      { numRuns: 30 },
    );
  });

  test('nothing to run is no batch', () => {
    expect(chunks([])).toEqual([]);
  });
});

describe('checkStreams', () => {
  test('takes prompts that leave room for one token', () => {
    expect(() => checkStreams([[0, 9], [3]], 10, 3)).not.toThrow();
    expect(() => checkStreams([[0]], 10, 3)).not.toThrow();
  });

  test.each<[number[], number[], string, string]>([
    [[], [1], 'bad-input', 'The base prompt has no token: give it at least one.'],
    [[1], [], 'bad-input', 'The instructed prompt has no token: give it at least one.'],
    [
      [1, 10],
      [1],
      'bad-input',
      "The base prompt holds the token id 10, but this model's ids are 0..9.",
    ],
    [
      [1],
      [-1],
      'bad-input',
      "The instructed prompt holds the token id -1, but this model's ids are 0..9.",
    ],
    [
      [1.5],
      [1],
      'bad-input',
      "The base prompt holds the token id 1.5, but this model's ids are 0..9.",
    ],
    [
      [Number.NaN],
      [1],
      'bad-input',
      "The base prompt holds the token id NaN, but this model's ids are 0..9.",
    ],
    [
      [1],
      [1, 2, 3],
      'context-exceeded',
      'The instructed prompt has 3 tokens, but the context holds 3 and a new token needs one: shorten the prompt.',
    ],
  ])('refuses %j and %j', (base, instructed, code, message) => {
    expect(() => checkStreams([base, instructed], 10, 3)).toThrowError(
      expect.objectContaining({ code, message }),
    );
  });
});
