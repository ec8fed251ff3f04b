import { describe, expect, test } from 'vitest';
import { describeStage, duration } from '../../src/cli/progress.js';

const stage = (done: number, more: object = {}) => ({
  stage: 'respond-sda',
  done,
  total: 100,
  failed: 0,
  tokens: 0,
  ...more,
});

describe('the progress of a stage', () => {
  test.each<[object, string]>([
    [{ progress: stage(0), initial: 0, since: 0 }, 'respond-sda 0/100'],
    [
      { progress: stage(20, { tokens: 2000 }), initial: 0, since: 0 },
      'respond-sda 20/100, 24 a minute, 40 tokens/s, 3 min left',
    ],
    // what was there before says nothing of the rate
    [
      { progress: stage(60), initial: 50, since: 0 },
      'respond-sda 60/100, 50 there already, 12 a minute, 3 min left',
    ],
    [
      { progress: stage(50, { failed: 2 }), initial: 50, since: 0 },
      'respond-sda 50/100, 50 there already, 2 failed',
    ],
    [{ progress: stage(100), initial: 100, since: 0 }, 'respond-sda 100/100, there already'],
    [{ progress: stage(100), initial: 0, since: 20 }, 'respond-sda 100/100, 200 a minute, 30 s'],
  ])('%j', (tracked, text) => {
    expect(describeStage(tracked as Parameters<typeof describeStage>[0], 50)).toBe(text);
  });

  test.each([
    [0.4, '0 s'],
    [89, '89 s'],
    [90, '2 min'],
    [5340, '89 min'],
    [5400, '1 h 30 min'],
    [36_000, '10 h 0 min'],
  ])('%d seconds are %s', (seconds, text) => {
    expect(duration(seconds)).toBe(text);
  });
});
