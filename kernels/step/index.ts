import type { Tensor2D } from '@tensorflow/tfjs-core';
import { SdaError } from '../../src/errors.js';
import { attr, executeOp } from '../../src/runtime/backend.js';
import { defineKernel } from '../define.js';
import { checkShape } from '../shapes.js';
import {
  MASKS,
  MOST_STREAMS,
  STEP_NUMBERS,
  type StepArgs,
  type StepAttrs,
  type StepInputs,
  TEMPERATURES,
  WEIGHTS,
} from './contract.js';
import { stepReference } from './reference.js';

export * from './contract.js';
export { type StepNumbers, stepNumbers } from './numbers.js';

const run = defineKernel<StepInputs, StepAttrs>({
  name: 'SdaStep',
  native: ({ logits, numbers, least }, attrs) =>
    executeOp(
      'SdaStep',
      [attr.ints('kinds', kindsOf(attrs))],
      [logits, numbers, least ?? numbers], // without that mask, any tensor: it is not read
      2,
    ),
  reference: stepReference,
});

/**
 * Combines the next-token distributions of S streams into one, for B queries at once. With L_i = log softmax of stream
 * i's logits,
 *
 *     score = total L_anchor + sum of u_i (L_i - L_anchor)    over the streams with u_i other than 0
 *     P'    = softmax(score / T)                              over the tokens that the mask keeps
 *
 * A token at -Infinity in the anchor stays there. Weights of 0 alone, and a total of 1, are plain decoding of the anchor
 * to the bit. A query has the same bits alone and in a batch.
 *
 * @returns `logProbs` float32 [B, V]: log P', normalised; -Infinity where a token is masked. `stats` float32 [B, 4 + S],
 *   or [B, 7 + 3 S] with `details`: see `STEP_STATS`, `stepDetails`; in a line with a bad stream nothing else has a
 *   meaning. The caller disposes both.
 * @throws SdaError `bad-tensor` when shapes disagree, `bad-input` when a stream is named that is not there.
 */
export function step({ logits, numbers, least, ...kinds }: StepArgs): {
  logProbs: Tensor2D;
  stats: Tensor2D;
} {
  const attrs = { ...DEFAULTS, maskStream: kinds.anchor, ...kinds };
  checkShape('step', 'numbers', numbers, [null, null]);
  const [B, width] = numbers.shape;
  const S = width - STEP_NUMBERS.weights;
  checkStreams(S, attrs);
  checkShape('step', 'logits', logits, [S * B, null]);
  if (attrs.mask === 'least' && !least) {
    throw new SdaError('bad-input', 'step: the mask "least" needs the tensor least, [B].');
  }
  const used = attrs.mask === 'least' ? least : undefined;
  if (used) checkShape('step', 'least', used, [B]);
  const [logProbs, stats] = run({ logits, numbers, least: used }, attrs);
  return { logProbs: logProbs as Tensor2D, stats: stats as Tensor2D };
}

/** The attribute of the native form. */
function kindsOf(attrs: StepAttrs): number[] {
  return [
    attrs.anchor,
    ...attrs.pair,
    WEIGHTS.indexOf(attrs.weights),
    MASKS.indexOf(attrs.mask),
    attrs.maskStream,
    TEMPERATURES.indexOf(attrs.temperature),
    Number(attrs.details),
  ];
}

const DEFAULTS = { weights: 'fixed', mask: 'none', temperature: 'fixed', details: false } as const;

function checkStreams(S: number, { anchor, pair, maskStream }: StepAttrs): void {
  if (!(S >= 1 && S <= MOST_STREAMS)) {
    throw new SdaError(
      'bad-tensor',
      `step: numbers must have ${STEP_NUMBERS.weights} columns and one for each of 1 to ${MOST_STREAMS} streams, but have ${STEP_NUMBERS.weights + S}.`,
    );
  }
  for (const stream of [anchor, ...pair, maskStream]) {
    if (Number.isInteger(stream) && stream >= 0 && stream < S) continue;
    throw new SdaError(
      'bad-input',
      `step: anchor, pair and maskStream must be streams, 0 to ${S - 1}, but one is ${stream}.`,
    );
  }
}
