import { describe, expect, test } from 'vitest';
import {
  DEFAULT_SETTINGS,
  PRESETS,
  resolveSettings,
  type SdaSettings,
} from '../../src/method/settings.js';

describe('resolveSettings', () => {
  test("fills in the paper's constants", () => {
    expect(resolveSettings()).toEqual(DEFAULT_SETTINGS);
    expect(DEFAULT_SETTINGS).toMatchObject({ k: 2, t0: 0.6, sigma: 0.01, tMin: 0.2, topP: 0.95 });
    expect(Object.isFrozen(DEFAULT_SETTINGS)).toBe(true);
  });

  test('keeps 0 and takes undefined as not given', () => {
    const settings = resolveSettings({ t0: 0, topP: 0, amplification: 0, k: undefined as never });
    expect(settings).toMatchObject({ t0: 0, topP: 0, amplification: 0, k: 2 });
  });

  test('takes every preset', () => {
    for (const preset of Object.values(PRESETS)) {
      expect(resolveSettings(preset)).toMatchObject(preset);
    }
    expect(PRESETS['authors-0'].sigma).toBe(2 * Math.log(2));
  });

  test.each<[Partial<SdaSettings>, string]>([
    [{ amplification: Number.NaN }, 'amplification must be a finite number, but is NaN.'],
    [{ k: 0 }, 'k must be a number above 0, but is 0.'],
    [{ k: Number.POSITIVE_INFINITY }, 'k must be a number above 0, but is Infinity.'],
    [{ t0: -0.1 }, 't0 must be a number of at least 0, but is -0.1.'],
    [{ t0: Number.NaN }, 't0 must be a number of at least 0, but is NaN.'],
    [{ sigma: 0 }, 'sigma must be a number above 0, but is 0.'],
    [{ tMin: -1 }, 'tMin must be a number of at least 0, but is -1.'],
    [{ topP: 1.1 }, 'topP must be a number in 0..1, but is 1.1.'],
    [{ topP: -0.1 }, 'topP must be a number in 0..1, but is -0.1.'],
    [{ topK: 2.5 }, 'topK must be a whole number of at least 0, but is 2.5.'],
    [{ topK: -1 }, 'topK must be a whole number of at least 0, but is -1.'],
    [{ minP: 2 }, 'minP must be a number in 0..1, but is 2.'],
    [{ plausibility: -0.5 }, 'plausibility must be a number in 0..1, but is -0.5.'],
    [{ k: '2' as never }, 'k must be a number above 0, but is 2.'],
    [{ k: null as never }, 'k must be a number above 0, but is null.'],
    [{ k: { toString: 1 } as never }, 'k must be a number above 0, but is an object.'],
    [{ topK: [1] as never }, 'topK must be a whole number of at least 0, but is a list.'],
    [{ greedy: {} as never }, 'greedy must be true or false, but is an object.'],
    [{ greedy: 'yes' as never }, 'greedy must be true or false, but is yes.'],
    [
      { mode: { a: 1 } as never },
      'mode must be one of sda, steering, scaling, instructed, base, but is an object.',
    ],
    [
      { mode: 'both' as never },
      'mode must be one of sda, steering, scaling, instructed, base, but is "both".',
    ],
  ])('refuses %o', (partial, message) => {
    expect(() => resolveSettings(partial)).toThrowError(
      expect.objectContaining({ code: 'bad-input', message }),
    );
  });
});
