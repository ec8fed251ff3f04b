import { describe, expect, test } from 'vitest';
import { LEAST_TOKENS, Pace, UNDISTURBED } from '../../src/decode/pace.js';
import { PREFILL_CHUNK } from '../../src/decode/streams.js';

/** Turns of queries that run while a prompt without end comes in; each is told in steps. */
function turns(count: number, stepMs: number, tokenMs: number): number[] {
  const pace = new Pace();
  return Array.from({ length: count }, () => {
    const tokens = Math.floor(pace.next(1));
    const ms = stepMs + tokens * tokenMs;
    pace.took(ms, tokens);
    return ms / stepMs;
  });
}

describe('Pace', () => {
  test('the first turn belongs to the step, which shows how long it takes', () => {
    expect(new Pace().next(1)).toBe(0);
  });

  test('nobody is kept waiting where nobody runs', () => {
    expect(new Pace().next(0)).toBe(UNDISTURBED);
  });

  test.each([
    [20, 1],
    [20, 0.1],
    [100, 0.5],
    [5, 0.01],
  ])(
    'steps of %d ms and tokens of %d ms: no turn takes more than 3 steps, and prompts come in',
    (stepMs, tokenMs) => {
      const found = turns(200, stepMs, tokenMs);
      const least = (stepMs + LEAST_TOKENS * tokenMs) / stepMs;
      expect(Math.max(...found.slice(20))).toBeLessThanOrEqual(Math.max(3, least));
      const mean = found.slice(100).reduce((sum, turn) => sum + turn, 0) / 100;
      expect(mean).toBeGreaterThan(Math.min(1.8, 1 + (PREFILL_CHUNK * tokenMs) / stepMs - 0.2));
    },
  );

  test('tokens that are slow come at least a few at a time', () => {
    const found = turns(50, 1, 10).filter((turn) => turn > 1);
    expect(found.length).toBeGreaterThan(30);
    expect(found.at(-1)).toBe(1 + 10 * LEAST_TOKENS);
  });
});
