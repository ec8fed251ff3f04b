import type { RopeConfig } from './rope-config.js';

export type { RopeConfig } from './rope-config.js';

/** The rotary frequencies of one head. */
export interface RopeFrequencies {
  /** Radians per position of each rotated pair: [headDim / 2], float64. */
  readonly inverseFrequencies: Float64Array;
  /** Factor on every cosine and sine; 1 except for yarn and longrope. */
  readonly attentionScaling: number;
}

/**
 * Frequencies of the rotary position embedding: pair i of a head turns by
 * `position * inverseFrequencies[i]`.
 * `sequenceLength` (positions in use) changes the result for `dynamic` and `longrope` alone, beyond the trained length.
 * Sources: RoFormer (arXiv 2104.09864) eq 15; linear and dynamic scaling as in transformers 5.24
 * `modeling_rope_utils`; YaRN (arXiv 2309.00071) sections 3.2 to 3.4; llama3 as in Meta's reference code;
 * LongRoPE (arXiv 2402.13753) as in transformers.
 */
export function ropeInverseFrequencies(
  rope: RopeConfig,
  headDim: number,
  sequenceLength = 0,
): RopeFrequencies {
  switch (rope.type) {
    case 'default':
      return unscaled(baseFrequencies(rope.theta, headDim));
    case 'linear':
      return unscaled(baseFrequencies(rope.theta, headDim).map((f) => f / rope.factor));
    case 'dynamic': {
      const stretch = Math.max(sequenceLength, rope.originalMaxPosition) / rope.originalMaxPosition;
      const growth = rope.factor * stretch - (rope.factor - 1);
      return unscaled(baseFrequencies(rope.theta * growth ** (headDim / (headDim - 2)), headDim));
    }
    case 'llama3':
      return unscaled(baseFrequencies(rope.theta, headDim).map((f) => llama3Frequency(rope, f)));
    case 'yarn':
      return yarnFrequencies(rope, headDim);
    case 'longrope':
      return longFrequencies(rope, headDim, sequenceLength);
  }
}

/** theta^(-2i / headDim) for i in 0 .. headDim / 2 - 1. */
function baseFrequencies(theta: number, headDim: number): Float64Array {
  return Float64Array.from({ length: headDim / 2 }, (_, i) => theta ** ((-2 * i) / headDim));
}

function unscaled(inverseFrequencies: Float64Array): RopeFrequencies {
  return { inverseFrequencies, attentionScaling: 1 };
}

/** Short wavelengths are kept, long ones stretched by the factor, those between interpolated. */
function llama3Frequency(rope: Extract<RopeConfig, { type: 'llama3' }>, frequency: number): number {
  const turns = (rope.originalMaxPosition * frequency) / (2 * Math.PI); // over the trained length
  if (turns > rope.highFreqFactor) return frequency;
  if (turns < rope.lowFreqFactor) return frequency / rope.factor;
  const smooth = (turns - rope.lowFreqFactor) / (rope.highFreqFactor - rope.lowFreqFactor);
  return ((1 - smooth) * frequency) / rope.factor + smooth * frequency;
}

function yarnFrequencies(
  rope: Extract<RopeConfig, { type: 'yarn' }>,
  headDim: number,
): RopeFrequencies {
  // The (fractional) pair that makes this many turns over the trained length.
  const pairOf = (turns: number) =>
    (headDim * Math.log(rope.originalMaxPosition / (turns * 2 * Math.PI))) /
    (2 * Math.log(rope.theta));
  const round = (value: number, outwards: (value: number) => number) =>
    rope.truncate ? outwards(value) : value;
  const low = Math.max(round(pairOf(rope.betaFast), Math.floor), 0);
  let high = Math.min(round(pairOf(rope.betaSlow), Math.ceil), headDim - 1);
  if (low === high) high += 0.001;

  const inverseFrequencies = baseFrequencies(rope.theta, headDim).map((frequency, i) => {
    const interpolated = Math.min(Math.max((i - low) / (high - low), 0), 1);
    return (interpolated * frequency) / rope.factor + (1 - interpolated) * frequency;
  });
  return {
    inverseFrequencies,
    attentionScaling: rope.attentionFactor ?? yarnAttentionFactor(rope),
  };
}

function yarnAttentionFactor(rope: Extract<RopeConfig, { type: 'yarn' }>): number {
  const scale = (mscale: number) =>
    rope.factor <= 1 ? 1 : 0.1 * mscale * Math.log(rope.factor) + 1;
  return rope.mscale !== null && rope.mscaleAllDim !== null
    ? scale(rope.mscale) / scale(rope.mscaleAllDim)
    : scale(1);
}

function longFrequencies(
  rope: Extract<RopeConfig, { type: 'longrope' }>,
  headDim: number,
  sequenceLength: number,
): RopeFrequencies {
  const { factor, originalMaxPosition: trained, shortFactors, longFactors } = rope;
  const divisors = sequenceLength > trained ? longFactors : shortFactors;
  const stretch = factor <= 1 ? 1 : Math.sqrt(1 + Math.log(factor) / Math.log(trained));
  return {
    inverseFrequencies: baseFrequencies(rope.theta, headDim).map((f, i) => f / divisors[i]!),
    attentionScaling: rope.attentionFactor ?? stretch,
  };
}
