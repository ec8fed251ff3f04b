/**
 * Every tolerance of the tests, with its reason. Relative ones are relative to the largest magnitude that
 * is compared (see `expectClose`), because that is what float32 rounding scales with.
 */
export const TOLERANCE = {
  /** JS, nats, absolute: sums of V float32 terms of either sign, each below 1 */
  js: 1e-6,
  /** T, relative: 0.5^(JS / sigma) multiplies an error of JS of 1e-7 by ln 2 / sigma, 69 at sigma = 0.01 */
  temperature: 1e-5,
  /** Entropies, nats, absolute: sums of V float32 terms, times up to ln V */
  entropy: 1e-5,
  /** P', absolute, against float64 */
  probability: 1e-6,
  /** log P', relative to its magnitude and at least 1: float32 rounding of logits, times strength / T */
  logProb: 1e-5,
  /** |sum of P' - 1|: V float32 terms */
  sum: 1e-5,
  /** a (eq 3), absolute: float64 against float64 */
  amplification: 1e-12,
  /** Native kernel against its reference, float32, relative: sums in another order */
  kernel: 2e-5,
  /**
   * log Z where it is near 0, absolute: there the relative error of the sum of exponentials, whatever log Z is. Half a
   * unit of float32 near 1, 2^-24, each for the exponentials, their sum, its log, and the largest logit that is added
   */
  logZ: 4 * 2 ** -24,
  /** Logits against transformers in float32, relative to the largest */
  logits: 1e-4,
  /** Logits with bfloat16 weights against those with the float32 weights, relative to the largest */
  bfloat16Logits: 2e-2,
  /** Two ways of running the same model (batched or alone, in chunks or not), relative: sums in another order */
  sameModel: 2e-5,
  /** Log-probabilities of a golden run, absolute: the logits' error divided by T of at least 0.2 */
  goldenLogProb: 1e-3,
  /** T of a golden run, relative: the logits' error through JS / sigma at sigma = 0.01 */
  goldenTemperature: 1e-3,
  /** JS of a golden run, absolute */
  goldenJs: 1e-5,
  /** Chi-square statistic with 4 degrees of freedom that chance exceeds once in 1000; the seed is fixed */
  chiSquare4: 18.47,
} as const;
