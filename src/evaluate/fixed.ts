import { SdaError } from '../errors.js';
import { type Evaluator, localProvenance } from './types.js';

/**
 * The same score for every response.
 * @param score 0..100
 * @throws SdaError `bad-input` for any other
 */
export function fixedEvaluator(score: number): Evaluator {
  if (!(score >= 0 && score <= 100)) {
    throw new SdaError('bad-input', `A fixed score must be a number in 0..100, but is ${score}.`);
  }
  return {
    name: 'fixed',
    score: async () => ({ status: 'scored', score, provenance: localProvenance('fixed') }),
  };
}
