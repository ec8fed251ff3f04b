import { describe, expect, test } from 'vitest';
import { RowPool } from '../../src/decode/row-pool.js';

const ids = (count: number, from = 0) => Array.from({ length: count }, (_, i) => from + i);
const content = (of: readonly number[], angles = 0) => ({ ids: of, angles });

describe('RowPool', () => {
  test('gives each row once, and again when it has come back, the one unused for longest first', () => {
    const pool = new RowPool(3);
    expect([pool.take(), pool.take(), pool.take()]).toEqual([0, 1, 2]);
    expect(pool.free).toBe(0);
    for (const row of [1, 2, 0]) pool.giveBack(row);
    expect(pool.free).toBe(3);
    expect([pool.take(), pool.take(), pool.take()]).toEqual([1, 2, 0]);
  });

  test('gives a preferred row where it is free, and spared ones last', () => {
    const pool = new RowPool(3);
    expect(pool.take(2)).toBe(2);
    expect(pool.take(2, new Set([0]))).toBe(1); // 2 is taken
    expect(pool.take(undefined, new Set([0]))).toBe(0);
  });

  test('finds the row that begins with the most tokens, taken or not, and leaves one to run', () => {
    const pool = new RowPool(3);
    pool.hold(pool.take(), content(ids(20)));
    pool.hold(pool.take(), content([...ids(30), 99]));
    expect(pool.match(content(ids(40)))).toEqual({ row: 1, length: 30 });
    pool.giveBack(1);
    expect(pool.match(content(ids(40)))).toEqual({ row: 1, length: 30 });
    expect(pool.match(content(ids(30)))).toEqual({ row: 1, length: 29 });
    expect(pool.match(content(ids(40, 1)))).toBeUndefined();
    expect(pool.match(content(ids(40), 1))).toBeUndefined(); // other angles
  });

  test('passes over a few equal tokens', () => {
    const pool = new RowPool(1);
    pool.hold(pool.take(), content(ids(40)));
    expect(pool.match(content([...ids(15), 99, 98]))).toBeUndefined();
    expect(pool.match(content([...ids(16), 99, 98]))).toEqual({ row: 0, length: 16 });
  });

  test('forgets what a row holds when it is given away', () => {
    const pool = new RowPool(1);
    pool.hold(pool.take(), content(ids(40)));
    pool.giveBack(0);
    pool.take();
    expect(pool.match(content(ids(40)))).toBeUndefined();
  });
});
