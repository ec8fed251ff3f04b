import { tensor2d } from '@tensorflow/tfjs-core';
import { STEP_STATS } from '../../kernels/step/index.js';
import { resolveSettings } from './settings.js';
import { sdaDistribution } from './step.js';

/** One step with known results; `-Infinity` logits are masked tokens. */
export interface ConformanceCase {
  readonly base: readonly number[];
  readonly instructed: readonly number[];
  readonly k: number;
  readonly a: number;
  readonly t0: number;
  readonly sigma: number;
  readonly tmin: number;
}

export interface ConformanceResult {
  readonly js: number;
  readonly temperature: number;
  /** P' over the vocabulary (eq 8) */
  readonly probs: number[];
}

/** Runs this package's own step, as decoding does, on one case. TensorFlow must be running. */
export async function conformanceStep(test: ConformanceCase): Promise<ConformanceResult> {
  const logits = tensor2d([...test.base, ...test.instructed], [2, test.base.length]);
  const settings = resolveSettings({ k: test.k, t0: test.t0, sigma: test.sigma, tMin: test.tmin });
  const { logProbs, stats } = sdaDistribution(logits, settings, [test.a]);
  try {
    const values = (await stats.data()) as Float32Array;
    return {
      js: values[STEP_STATS.js]!,
      temperature: values[STEP_STATS.temperature]!,
      probs: Array.from(await logProbs.data(), Math.exp),
    };
  } finally {
    for (const tensor of [logits, logProbs, stats]) tensor.dispose();
  }
}
