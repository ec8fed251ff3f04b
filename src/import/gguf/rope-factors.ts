import { SdaError } from '../../errors.js';

/** What Llama 3.1 to 3.3 have in config.json, but for the factor. */
const LLAMA3 = {
  rope_type: 'llama3',
  low_freq_factor: 1,
  high_freq_factor: 4,
  original_max_position_embeddings: 8192,
} as const;

/** Relative; the factors are float32. */
const TOLERANCE = 1e-5;

/**
 * config.json's `rope_scaling` from the factors that a GGUF file holds in its place, [headDim / 2]: the largest is
 * Llama 3's factor, and with the constants of the published models it must give the others.
 * @throws SdaError `unsupported` where it does not.
 */
export function llama3Scaling(
  factors: Float32Array,
  theta: number,
  headDim: number,
  file: string,
): Record<string, unknown> {
  const factor = factors.reduce((most, value) => Math.max(most, value), 1);
  const expected = llama3Factors(factor, theta, headDim);
  const fits =
    factors.length === expected.length &&
    expected.every((value, i) => Math.abs(factors[i]! / value - 1) < TOLERANCE);
  if (fits) return { ...LLAMA3, factor };
  throw new SdaError(
    'unsupported',
    `${file} divides its rotary frequencies by factors (rope_freqs.weight) that are not those of Llama 3.1 to 3.3 with factor ${factor}; import the published safetensors.`,
  );
}

/** What each frequency is divided by. Source: transformers, `_compute_llama3_parameters`. */
function llama3Factors(factor: number, theta: number, headDim: number): number[] {
  const { low_freq_factor: low, high_freq_factor: high } = LLAMA3;
  const original = LLAMA3.original_max_position_embeddings;
  return Array.from({ length: headDim / 2 }, (_, i) => {
    const wavelength = 2 * Math.PI * theta ** ((2 * i) / headDim);
    if (wavelength < original / high) return 1;
    if (wavelength > original / low) return factor;
    const smooth = (original / wavelength - low) / (high - low);
    return 1 / ((1 - smooth) / factor + smooth);
  });
}
