import type { Tensor2D } from '@tensorflow/tfjs-core';
import { attr, executeOp } from '../../src/runtime/backend.js';
import { defineKernel } from '../define.js';
import { checkShape, checkStreams } from '../shapes.js';
import type { SdaStepArgs, SdaStepAttrs, SdaStepInputs } from './contract.js';
import { sdaStepReference } from './reference.js';

export * from './contract.js';

const run = defineKernel<SdaStepInputs, SdaStepAttrs>({
  name: 'SdaStep',
  native: ({ logits, strength }, { t0, sigma, tMin, plausibility, base }) =>
    executeOp(
      'SdaStep',
      [
        attr.float('t0', t0),
        attr.float('sigma', sigma),
        attr.float('t_min', tMin),
        attr.float('plausibility', plausibility),
        attr.bool('base', base),
      ],
      [logits, strength],
      2,
    ),
  reference: sdaStepReference,
});

/**
 * Equations 4-8 of the SDA paper but for the draw, for B queries at once.
 *
 * @returns `logProbs` float32 [B, V]: log P' (eq 8), normalised; -Infinity where a token is masked.
 *   `stats` float32 [B, 6]: see `STEP_STATS`; in a line with a bad stream nothing else has a meaning.
 *   The caller disposes both.
 * @throws SdaError `bad-tensor` when shapes disagree.
 */
export function sdaStep({ logits, strength, ...attrs }: SdaStepArgs): {
  logProbs: Tensor2D;
  stats: Tensor2D;
} {
  checkShape('sdaStep', 'strength', strength, [null]);
  checkStreams('sdaStep', logits, strength.shape[0]);
  const [logProbs, stats] = run({ logits, strength }, attrs);
  return { logProbs: logProbs as Tensor2D, stats: stats as Tensor2D };
}
