import { describe, expect, test } from 'vitest';
import { GIBBERISH_FILTER } from '../../src/evaluate/gibberish.js';
import type { RunData } from '../../src/experiment/rows.js';
import { doneRow } from '../../src/experiment/stages.js';
import { summarizeRun } from '../../src/experiment/summary.js';
import { resultsTable, type SummarizedRun, TABLE_FORMATS } from '../../src/experiment/table.js';
import { HEADER, smallRun, verdict } from './small-run.js';

const OTHER = { ...HEADER, name: 'other', seed: 8, evaluator: 'fixed' };

function summarized(run: RunData): SummarizedRun {
  return { run, summary: summarizeRun(run) };
}

describe('the table', () => {
  const table = (format: 'text' | 'markdown' | 'csv', data = smallRun()) =>
    resultsTable([summarized(data)], format);

  test('has the same numbers as text, Markdown and CSV', () => {
    const text = table('text').split('\n')[1]!;
    for (const part of ['sda', 'full', ' 3 ', '0.0 [-100.0, 100.0]', '1/1/1', '2:16']) {
      expect(text).toContain(part);
    }
    expect(table('markdown')).toContain('| 0.0 [-100.0, 100.0] | 1/1/1 |');
    const [heading, full] = table('csv').split('\r\n');
    expect(full!.split(',').length).toBe(heading!.split(',').length + 1); // the model's name has a comma
    expect(full).toContain('full,3,0.0,-100.0,100.0,1,1,1,50.0,');
  });

  test('quotes CSV as RFC 4180 does, and escapes Markdown', () => {
    expect(table('csv')).toContain('"tiny, ""quoted""",plain,');
    expect(table('markdown')).toContain('openai a\\|b');
  });

  test.each(TABLE_FORMATS)('marks each line that a stand-in judged: %s', (format) => {
    const data = smallRun({ header: { ...HEADER, judge: 'stand-in', standIn: true } });
    const lines = table(format, data)
      .split(/\r?\n/)
      .filter((line) => line.includes('sda'));
    expect(lines).toHaveLength(2);
    for (const line of lines) expect(line).toContain('stand-in (no results)');
  });

  test('has the run, its seed and its evaluator where they tell lines apart', () => {
    const [first, second] = [smallRun(), smallRun({ header: OTHER })].map(summarized);
    const heading = (...runs: SummarizedRun[]) => resultsTable(runs, 'markdown').split('\n')[0]!;
    const names = ['| run |', '| seed |', '| evaluator |'];
    for (const name of names) {
      expect(heading(first!)).not.toContain(name);
      expect(heading(first!, second!)).toContain(name);
    }
    const lines = resultsTable([first!, second!], 'markdown').split('\n');
    expect(lines[2]).toMatch(/^\| small \|.*\| 3 \| openai gpt-4.1 \|/);
    expect(lines[4]).toMatch(/^\| other \|.*\| 8 \| fixed \|/);
  });

  test('shows pending pairs only while there are some', () => {
    expect(table('markdown')).toContain('| pending |');
    const data = smallRun();
    const verdicts = new Map(data.verdicts);
    const last = doneRow('e', verdict('tie', 1, 1));
    verdicts.set('sda', new Map([...data.verdicts.get('sda')!, ['e', last]]));
    expect(table('markdown', { ...data, verdicts })).not.toContain('pending');
  });

  test('names the filter of the refined set in CSV', () => {
    expect(table('csv')).toContain(`,1,${GIBBERISH_FILTER},x,`);
  });

  test('keeps a line a line, whatever a name holds', () => {
    const model = { ...HEADER.model, name: 'a\nb\u001b[2J' };
    const lines = table('text', smallRun({ header: { ...HEADER, model } })).split('\n');
    expect(lines).toHaveLength(3);
    expect(lines[1]).toMatch(/^a b \[2J {2}/);
  });

  test('writes no minus before zero', () => {
    const verdicts = new Map([
      [
        'sda' as const,
        new Map(
          Array.from({ length: 2401 }, (_, i) => [
            String(i),
            doneRow(String(i), verdict(i === 0 ? 'base' : 'tie', 50, 50)),
          ]),
        ),
      ],
    ]);
    const items = [...verdicts.get('sda')!.keys()].map((id) => ({ id, query: id, labels: {} }));
    expect(table('text', smallRun({ items, verdicts }))).toContain(' 0.0 [-0.1, 0.0] ');
  });

  test('has columns that line up', () => {
    const lines = table('text').split('\n');
    const column = lines[0]!.indexOf('method');
    expect(lines.slice(1).every((line) => line.startsWith('sda', column))).toBe(true);
  });
});
