import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { parseConfig } from '../../src/model/config.js';
import { ropeInverseFrequencies } from '../../src/model/rope.js';
import { ROPE_TYPES } from '../../src/model/rope-config.js';

interface Case {
  readonly name: string;
  readonly config: Readonly<Record<string, unknown>>;
  readonly sequence_length: number | null;
  readonly inverse_frequencies: readonly number[];
  readonly attention_scaling: number;
}
const golden: { readonly cases: readonly Case[] } = JSON.parse(
  readFileSync(new URL('../fixtures/rope/golden.json', import.meta.url), 'utf8'),
);

/** As many key-value heads as heads: the default of some families is for larger models. */
const parse = (config: Case['config']) =>
  parseConfig(
    { num_key_value_heads: config.num_attention_heads, ...config },
    { file: 'config.json' },
  );

/** The golden values are float32: powers of up to 1e6, and a ramp whose complement yarn multiplies by up to 40. */
const RELATIVE_TOLERANCE = 5e-6;

describe('ropeInverseFrequencies', () => {
  it.each(golden.cases.map((value) => [value.name, value] as const))('%s', (_, value) => {
    const config = parse(value.config);
    const { inverseFrequencies, attentionScaling } = ropeInverseFrequencies(
      config.rope,
      config.headDim,
      value.sequence_length ?? undefined,
    );
    expect(attentionScaling).toBeCloseTo(value.attention_scaling, 12);
    expect(inverseFrequencies).toHaveLength(value.inverse_frequencies.length);
    value.inverse_frequencies.forEach((expected, i) => {
      const error = Math.abs(inverseFrequencies[i]! / expected - 1);
      expect(error, `pair ${i}`).toBeLessThan(RELATIVE_TOLERANCE);
    });
  });

  it('covers every type of scaling', () => {
    const types = golden.cases.map(({ config }) => parse(config).rope.type);
    expect(new Set(types)).toEqual(new Set(ROPE_TYPES));
  });
});
