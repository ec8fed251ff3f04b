import type { ModelConfig } from './config.js';
import { ropeInverseFrequencies } from './rope.js';

/**
 * cos and sin of the rotary angles of each position, as the attention kernel takes them.
 *
 * Angles are rounded to float32 before cos and sin, as the models were trained and as transformers computes
 * them; cos and sin themselves are exact to float32.
 *
 * @param positions N positions; padding (-1) is given the angles of position 0
 * @returns [N * headDim]: for each position headDim / 2 cosines, then headDim / 2 sines, both times the
 *   scaling that YaRN asks for
 */
export function rotations(config: ModelConfig, positions: Int32Array): Float32Array {
  const length = 1 + positions.reduce((a, b) => Math.max(a, b), 0);
  const { inverseFrequencies, attentionScaling } = frequencies(config, length);
  const half = config.headDim / 2;
  const table = new Float32Array(positions.length * config.headDim);
  positions.forEach((position, token) => {
    const offset = token * config.headDim;
    for (let i = 0; i < half; i++) {
      const angle = Math.fround(Math.max(position, 0) * inverseFrequencies[i]!);
      table[offset + i] = Math.cos(angle) * attentionScaling;
      table[offset + half + i] = Math.sin(angle) * attentionScaling;
    }
  });
  return table;
}

interface Frequencies {
  /** float32 values, headDim / 2 of them */
  readonly inverseFrequencies: Float32Array;
  readonly attentionScaling: number;
}

const known = new WeakMap<ModelConfig, Frequencies>();

/** The model's inverse frequencies; only dynamic NTK scaling makes them depend on the length. */
function frequencies(config: ModelConfig, length: number): Frequencies {
  const remembered = known.get(config);
  if (remembered) return remembered;
  const { inverseFrequencies, attentionScaling } = ropeInverseFrequencies(
    config.rope,
    config.headDim,
    length,
  );
  const computed = { inverseFrequencies: Float32Array.from(inverseFrequencies), attentionScaling };
  if (config.rope.type !== 'dynamic') known.set(config, computed);
  return computed;
}
