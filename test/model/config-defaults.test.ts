import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { parseConfig } from '../../src/model/config.js';
import { MODEL_TYPES } from '../../src/model/family.js';

/** What transformers makes of a config.json that says almost nothing; see the make.py beside it. */
interface Settings {
  readonly head_dim: number;
  readonly num_key_value_heads: number;
  readonly rms_norm_eps: number;
  readonly rope_parameters: { readonly rope_theta: number; readonly rope_type: string };
  readonly tie_word_embeddings: boolean;
  readonly max_position_embeddings: number;
  readonly sliding_window?: number | null;
  readonly layer_types?: readonly string[];
  readonly no_rope_layers?: readonly number[];
  readonly [multiplier: string]: unknown;
}
const { sizes, families } = JSON.parse(
  readFileSync(new URL('../fixtures/config-defaults/golden.json', import.meta.url), 'utf8'),
) as { sizes: object; families: Readonly<Record<string, Readonly<Record<string, Settings>>>> };

const ADDED: Readonly<Record<string, object>> = {
  none: {},
  null: { num_key_value_heads: null },
  sliding: { use_sliding_window: true },
};

it('every family is there', () => {
  expect(Object.keys(families).sort()).toEqual([...MODEL_TYPES].sort());
});

const cases = Object.entries(families).flatMap(([name, variants]) =>
  Object.entries(variants).map(([added, expected]) => ({ name, added, expected })),
);

it.each(cases)(
  '$name has the defaults of transformers, added: $added',
  ({ name, added, expected }) => {
    const config = parseConfig(
      { model_type: name, ...sizes, ...ADDED[added] },
      { file: 'config.json' },
    );
    const layers = Array.from({ length: config.numLayers }, (_, layer) => layer);
    const slides = (layer: number) =>
      expected.layer_types
        ? expected.layer_types[layer] === 'sliding_attention'
        : expected.sliding_window != null;
    expect(config).toMatchObject({
      numKeyValueHeads: expected.num_key_value_heads,
      headDim: expected.head_dim,
      rmsNormEps: expected.rms_norm_eps,
      rope: {
        type: expected.rope_parameters.rope_type,
        theta: expected.rope_parameters.rope_theta,
      },
      tieWordEmbeddings: expected.tie_word_embeddings,
      maxPositionEmbeddings: expected.max_position_embeddings,
      slidingWindow: expected.sliding_window ?? null,
      slidingWindowLayers: layers.map(slides),
      rotatedLayers: layers.map((layer) => expected.no_rope_layers?.[layer] !== 0),
      attentionBias: expected.attention_bias ?? name === 'qwen2',
      mlpBias: expected.mlp_bias ?? false,
      embeddingScale: expected.embedding_multiplier ?? 1,
      attentionScale: expected.attention_multiplier ?? null,
      logitsScale: 1 / Number(expected.logits_scaling ?? 1),
    });
  },
);

it('a default that does not divide the heads is told as one', () => {
  const parse = () =>
    parseConfig(
      { model_type: 'mistral', ...sizes, num_attention_heads: 4 },
      { file: 'config.json' },
    );
  expect(parse).toThrow(
    /^config\.json has by its model_type's default num_key_value_heads 8 where a divisor of num_attention_heads 4 is needed; give it\.$/,
  );
});
