import { expect, test } from 'vitest';
import { runPython } from '../../support/sda-vllm.js';

interface Form {
  readonly form: string;
  /** Rows that drew a token without the others of their group */
  readonly lone: number;
  readonly refused: number;
  readonly preemptions: number;
  readonly problems: readonly string[];
}

test('groups draw together or not at all, whatever comes, and every request ends', () => {
  const forms = JSON.parse(
    runPython('python3', ['simulate.py', '--stand-in', '--runs', '60']),
  ) as Form[];
  const stock = forms.pop()!;
  expect(stock.lone).toBeGreaterThan(1000); // what the same arrivals do without the classes
  expect(forms.map(({ form }) => form)).toEqual([
    'one step',
    'two steps in flight',
    'asynchronous',
  ]);
  for (const { lone, problems, preemptions, refused } of forms) {
    expect({ lone, problems }).toEqual({ lone: 0, problems: [] });
    expect(preemptions).toBeGreaterThan(50); // caches were short
    expect(refused).toBeGreaterThan(0); // and shorter than some groups
  }
});
