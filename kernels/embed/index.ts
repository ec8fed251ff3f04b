import { type Tensor, type Tensor1D, type Tensor2D, tensor2d, tidy } from '@tensorflow/tfjs-core';
import { executeOp } from '../../src/runtime/backend.js';
import { int32Tensor } from '../../src/runtime/device-tensors.js';
import { toldShapes } from '../../src/runtime/quantised.js';
import { defineKernel } from '../define.js';
import { checkShape } from '../shapes.js';
import { embedReference } from './reference.js';

export interface EmbedArgs {
  /** float32, bfloat16, float16 or quantised [V, K] */
  readonly table: Tensor2D;
  /** [N] token ids; `~line` (below 0) stands for the token that line `line` of `drawn` begins with */
  readonly ids: Int32Array;
  /** float32 [L, W]: draws of the step before (`sample`), on the device */
  readonly drawn?: Tensor2D | undefined;
}

export type EmbedInputs = { table: Tensor2D; ids: Tensor1D; drawn: Tensor2D };

const NAME = 'SdaEmbed';

const run = defineKernel<EmbedInputs, object>({
  name: NAME,
  native: ({ table, ids, drawn }) => executeOp(NAME, toldShapes(table), [table, ids, drawn]),
  reference: embedReference,
});

/**
 * The embeddings of tokens, some of which may not have left the device.
 *
 * @returns float32 [N, K]; the caller disposes it.
 * @throws SdaError `bad-tensor` when shapes disagree. Another id than 0..V-1 or ~0..~(L-1) is an error of the
 *   operation; a drawn one that is not in 0..V-1 is taken as 0.
 */
export function embed({ table, ids, drawn }: EmbedArgs): Tensor2D {
  checkShape('embed', 'table', table, [null, null]);
  if (drawn) checkShape('embed', 'drawn', drawn, [null, null]);
  return tidy(() => {
    const inputs = {
      table,
      ids: int32Tensor(ids.slice()) as Tensor1D,
      drawn: drawn ?? tensor2d([], [0, 1]),
    };
    return run(inputs, {})[0] as Tensor as Tensor2D;
  });
}
