import type { ModelConfig } from './config.js';
import { ropeInverseFrequencies } from './rope.js';

/**
 * cos and sin of the rotary angles of the positions from 0 on, as the decoder layer takes them.
 *
 * Angles are rounded to float32 before cos and sin, as the models were trained and as transformers computes
 * them; cos and sin themselves are exact to float32.
 *
 * @param count positions
 * @param length positions in use: beyond the trained length it changes the angles of dynamic NTK scaling and LongRoPE, and
 *   no others
 * @returns [count, headDim]: for each position headDim / 2 cosines, then headDim / 2 sines, both times the
 *   scaling that YaRN and LongRoPE ask for; 1 and 0 for the pairs that are not rotated; all times the factor that gives
 *   the scores the config's scale
 */
export function rotations(config: ModelConfig, count: number, length = count): Float32Array {
  const { headDim, rotaryDim, rope } = config;
  const scale = scoreScale(config);
  const { inverseFrequencies, attentionScaling } = ropeInverseFrequencies(rope, rotaryDim, length);
  const frequencies = Float32Array.from(inverseFrequencies);
  const half = headDim / 2;
  const table = new Float32Array(count * headDim);
  for (let position = 0; position < count; position++) {
    const offset = position * headDim;
    table.fill(scale, offset + frequencies.length, offset + half);
    for (let i = 0; i < frequencies.length; i++) {
      const angle = Math.fround(position * frequencies[i]!);
      table[offset + i] = Math.cos(angle) * attentionScaling * scale;
      table[offset + half + i] = Math.sin(angle) * attentionScaling * scale;
    }
  }
  return table;
}

/** The decoder layer divides scores by sqrt(headDim); queries and keys both carry the root of what is left to do. */
function scoreScale({ attentionScale, headDim }: ModelConfig): number {
  return attentionScale === null ? 1 : Math.sqrt(attentionScale * Math.sqrt(headDim));
}

/** What of `length` the angles depend on: equal values have equal angles. */
export function rotationLength({ rope }: ModelConfig, length: number): number {
  switch (rope.type) {
    case 'dynamic':
      return Math.max(length, rope.originalMaxPosition);
    case 'longrope':
      return length > rope.originalMaxPosition ? 1 : 0;
    default:
      return 0;
  }
}
