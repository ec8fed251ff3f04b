import { expect, it } from 'vitest';
import { alignColumns } from '../../src/text/columns.js';

it('aligns what a terminal shows, not characters', () => {
  const rows = [
    ['name', 'n'],
    ['日本語', '7'],
    ['👩‍👩‍👧', '12'],
    ['e\u0301t\u00e9', '3'],
    ['\u001b[1mbold\u001b[22m', '400'],
    ['last'],
  ];
  expect(alignColumns(rows, [1])).toEqual([
    'name      n',
    '日本語    7',
    '👩‍👩‍👧       12',
    'e\u0301t\u00e9       3',
    '\u001b[1mbold\u001b[22m    400',
    'last',
  ]);
  expect(alignColumns([])).toEqual([]);
});
