import type { Tensor1D, Tensor2D } from '@tensorflow/tfjs-core';
import { SdaError } from '../../src/errors.js';
import { attr, executeOp } from '../../src/runtime/backend.js';
import { defineKernel } from '../define.js';
import { checkShape, streamsOf } from '../shapes.js';
import { cutReference } from './reference.js';
import { CUT_SETTINGS_WIDTH } from './settings.js';

export { CUT_SETTINGS, cutSettings, type StreamCut } from './settings.js';

export interface CutArgs {
  /** float32 [S B, V]: stream s of query b is line S b + s. */
  readonly logits: Tensor2D;
  /** float32 [B, 3]: the cut of each query, see `cutSettings` */
  readonly settings: Tensor2D;
  /** The stream that is cut */
  readonly stream: number;
}

export type CutInputs = { logits: Tensor2D; settings: Tensor2D };
export type CutAttrs = { readonly stream: number };

const run = defineKernel<CutInputs, CutAttrs>({
  name: 'SdaCut',
  native: ({ logits, settings }, { stream }) =>
    executeOp('SdaCut', [attr.int('stream', stream)], [logits, settings]),
  reference: cutReference,
});

/**
 * The least logit that top-k and then top-p keep of one stream, taken at a temperature: what the mask `least` of `step`
 * takes. Tokens with the logit of the last kept one are kept with it. -Infinity, which keeps all, where nothing is cut or
 * the stream has no usable logit; where something is, what is impossible in the stream is not kept.
 *
 * @returns float32 [B]; the caller disposes it.
 * @throws SdaError `bad-tensor` when shapes disagree, `bad-input` when the stream is not there.
 */
export function cut({ logits, settings, stream }: CutArgs): Tensor1D {
  checkShape('cut', 'settings', settings, [null, CUT_SETTINGS_WIDTH]);
  checkShape('cut', 'logits', logits, [null, null]);
  const streams = streamsOf('cut', logits, settings.shape[0]);
  if (!(Number.isInteger(stream) && stream >= 0 && stream < streams)) {
    throw new SdaError('bad-input', `cut: stream must be 0 to ${streams - 1}, but is ${stream}.`);
  }
  const [least] = run({ logits, settings }, { stream });
  return least as Tensor1D;
}
