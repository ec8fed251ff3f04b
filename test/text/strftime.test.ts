import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { strftime } from '../../src/text/strftime.js';

interface Golden {
  /** Year, month from 1, day, hour, minute, second, millisecond */
  readonly time: readonly [number, number, number, number, number, number, number];
  readonly texts: Readonly<Record<string, string>>;
}

const GOLDEN = JSON.parse(
  readFileSync(new URL('../fixtures/strftime/golden.json', import.meta.url), 'utf8'),
) as readonly Golden[];

describe('a date', () => {
  it.each(GOLDEN)('of $time is written as Python does', ({ time, texts }) => {
    const [year, month, ...rest] = time;
    const date = new Date(year, month - 1, ...rest);
    const found = Object.keys(texts).map((format) => [format, strftime(date, format)]);
    expect(Object.fromEntries(found)).toEqual(texts);
  });

  it('as %s is the seconds since 1970', () => {
    expect(strftime(new Date(1_700_000_000_999), '%s')).toBe('1700000000');
  });
});
