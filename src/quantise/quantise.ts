import { type Imported, type ImportOptions, importModel } from '../import/import.js';
import type { QuantisedDtype } from '../model/quantised-checkpoint.js';
import { matrixProduct } from '../runtime/matrix-product.js';
import { startTensorFlow } from '../runtime/tensorflow.js';

/** What `importModel` takes, without a type of floats. */
export type QuantiseOptions = Omit<ImportOptions, 'dtype' | 'quantise' | 'product'>;

/**
 * Makes a model folder with quantised weights, which loads at the speed of the disk, of a model in any form that can be
 * imported: linear layers in 8 or 4 bits, embedding and head in 8. One matrix is in memory at a time.
 *
 * @param source a folder, or one file of weights, of floats
 * @param out a folder that does not exist yet; it is there when it is whole, and only then
 * @throws SdaError as `importModel`; `bad-tensor` for weights that are not finite
 */
export async function quantiseModel(
  source: string,
  out: string,
  dtype: QuantisedDtype,
  options: QuantiseOptions = {},
): Promise<Imported> {
  await startTensorFlow();
  return await importModel(source, out, { ...options, quantise: dtype, product: matrixProduct });
}
