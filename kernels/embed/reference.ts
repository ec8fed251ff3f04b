import type { Tensor } from '@tensorflow/tfjs-core';
import { SdaError } from '../../src/errors.js';
import { gatherLines, toFloat32 } from '../../src/runtime/device-tensors.js';
import { isQuantised, widenWeights } from '../../src/runtime/quantised.js';
import type { EmbedInputs } from './index.js';

/** `embed` composed of TensorFlow operations; reads what was drawn on the host. */
export function embedReference({ table, ids, drawn }: EmbedInputs): Tensor[] {
  const [V] = table.shape;
  const [lines, width] = drawn.shape;
  const known = ids.dataSync() as Int32Array;
  const values = known.some((id) => id < 0) ? drawn.dataSync() : new Float32Array();
  const bad = known.find((id) => id >= V || ~id >= lines);
  if (bad !== undefined) {
    throw new SdaError(
      'bad-tensor',
      `embed: ids must lie in 0..${V - 1}, or be ~line of ${lines} drawn ones, but one is ${bad}.`,
    );
  }
  const inTable = (token: number) => (token >= 0 && token < V ? token : 0);
  const all = known.map((id) => (id < 0 ? inTable(values[~id * width]!) : id));
  const wide = isQuantised(table) ? widenWeights(table) : table;
  const rows = gatherLines(wide, all);
  if (wide !== table) wide.dispose();
  const x = toFloat32(rows);
  if (x !== rows) rows.dispose();
  return [x];
}
