/** What a set of measurements comes to. */
export interface Summary {
  readonly median: number;
  /** 20th and 80th percentile: the spread */
  readonly p20: number;
  readonly p80: number;
  /** The measurements themselves, in the order they were made */
  readonly samples: readonly number[];
}

/**
 * The q-quantile of some numbers, interpolated linearly between the two nearest of them (type 7 of Hyndman
 * and Fan, "Sample Quantiles in Statistical Packages", 1996).
 *
 * @param samples at least one number, in any order
 * @param q 0..1
 * @throws RangeError without a sample, or for q outside 0..1
 */
export function quantile(samples: readonly number[], q: number): number {
  if (samples.length === 0 || !(q >= 0 && q <= 1)) {
    throw new RangeError(`no quantile ${q} of ${samples.length} samples`);
  }
  const sorted = [...samples].sort((a, b) => a - b);
  const place = (sorted.length - 1) * q;
  const below = Math.floor(place);
  const low = sorted[below]!;
  const high = sorted[Math.min(below + 1, sorted.length - 1)]!;
  return low + (high - low) * (place - below);
}

export function median(samples: readonly number[]): number {
  return quantile(samples, 0.5);
}

export function summarise(samples: readonly number[]): Summary {
  return {
    median: median(samples),
    p20: quantile(samples, 0.2),
    p80: quantile(samples, 0.8),
    samples: [...samples],
  };
}

/** Quotients of measurements made side by side, so that a slow moment of the machine counts on both sides. */
export function summariseRatios(
  numerators: readonly number[],
  denominators: readonly number[],
): Summary {
  return summarise(numerators.map((value, index) => value / denominators[index]!));
}
