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
    'steps of %d ms and tokens of %d ms: no turn takes more than 2 steps, and prompts come in',
    (stepMs, tokenMs) => {
      const found = turns(200, stepMs, tokenMs);
      const least = (stepMs + LEAST_TOKENS * tokenMs) / stepMs;
      expect(Math.max(...found.slice(20))).toBeLessThanOrEqual(Math.max(2, least));
      const mean = found.slice(100).reduce((sum, turn) => sum + turn, 0) / 100;
      expect(mean).toBeGreaterThan(Math.min(1.3, 1 + (PREFILL_CHUNK * tokenMs) / stepMs - 0.2));
    },
  );

  test('where a second panel doubles the price, one is enough', () => {
    const pace = new Pace();
    const found = Array.from({ length: 100 }, () => {
      const tokens = pace.next(1);
      const ms = 24 + (tokens <= 8 ? 1.4 : 3) * tokens;
      pace.took(ms, tokens);
      return { tokens, turn: ms / 24 };
    });
    expect(Math.max(...found.map(({ turn }) => turn))).toBeLessThan(2);
    expect(found.slice(50).filter(({ tokens }) => tokens === 8).length).toBeGreaterThan(40);
  });

  test('a step that was held up does not let in many tokens', () => {
    const pace = new Pace();
    for (let turn = 0; turn < 40; turn++) {
      const tokens = pace.next(1);
      pace.took(tokens === 0 && turn === 23 ? 5000 : 20 + 4 * tokens, tokens);
      expect(20 + 4 * tokens).toBeLessThanOrEqual(3 * 20);
    }
  });

  test('where queries have left, the next turns are measured by the steps of those that stay', () => {
    const pace = new Pace();
    for (let turn = 0; turn < 40; turn++) {
      const tokens = pace.next(8);
      pace.took(80 + 2 * tokens, tokens);
    }
    expect(pace.next(1)).toBe(0);
    pace.took(20, 0);
    expect(20 + 2 * pace.next(1)).toBeLessThanOrEqual(3 * 20);
  });

  test('tokens that are slow come at least a few at a time', () => {
    const found = turns(50, 1, 10).filter((turn) => turn > 1);
    expect(found.length).toBeGreaterThan(30);
    expect(found.at(-1)).toBe(1 + 10 * LEAST_TOKENS);
  });
});
