import { SdaError } from '../../errors.js';
import type { Checkpoint } from '../checkpoint.js';
import { placed } from '../derived.js';
import type { WeightDtype } from '../dtype.js';
import { readFloats } from '../floats.js';
import { exceedsRange, narrow } from '../narrow.js';
import type { Change, LowRank } from './changes.js';

/** left [rows, rank] times right [rank, columns], row-major, float32. */
export type MatrixProduct = (
  left: Float32Array,
  right: Float32Array,
  shape: { readonly rows: number; readonly rank: number; readonly columns: number },
) => Float32Array;

/** An adapter whose tensors are ready to be read. */
export interface OpenAdapter {
  readonly weights: Checkpoint;
  /** Multiplies its change of the weights */
  readonly weight: number;
  /** By the names of the base model's tensors */
  readonly changes: ReadonlyMap<string, Change>;
}

/**
 * A tensor of the base model with the changes of all adapters: computed in float32, rounded once to its own dtype.
 * @throws SdaError `bad-tensor` where a value exceeds that dtype's range; what reading throws
 */
export async function readMerged(
  name: string,
  into: Uint8Array | undefined,
  base: Checkpoint,
  adapters: readonly OpenAdapter[],
  product: MatrixProduct,
): Promise<Uint8Array> {
  const changing = adapters.filter(({ changes }) => changes.has(name));
  if (changing.length === 0) return base.read(name, into);
  const { dtype } = base.tensors.get(name)!;
  let values = await readFloats(base, name);
  for (const { weights, weight, changes } of changing) {
    const { replacement, lowRank } = changes.get(name)!;
    if (replacement !== undefined) values = await readFloats(weights, replacement);
    if (lowRank) await addLowRank(values, weights, lowRank, weight, product);
  }
  if (exceedsRange(values, dtype as WeightDtype)) {
    throw new SdaError(
      'bad-tensor',
      `${name} of ${base.dir} exceeds the range of ${dtype} with its adapters; import it with --dtype bfloat16 or float32, or check the weights of the adapters.`,
    );
  }
  return placed(narrow(values, dtype as WeightDtype), into);
}

/** Elements that a product is made of at a time: 16 MB. */
const BLOCK = 4 * 2 ** 20;

async function addLowRank(
  values: Float32Array,
  adapter: Checkpoint,
  { left, right, transposed, rank, scale }: LowRank,
  weight: number,
  product: MatrixProduct,
): Promise<void> {
  const [a, b] = [await readFloats(adapter, left), await readFloats(adapter, right)];
  const [rows, columns] = [a.length / rank, b.length / rank];
  const byRows = transposed ? transpose(a, rank, rows) : a;
  const byRank = transposed ? transpose(b, columns, rank) : b;
  const step = Math.max(1, Math.floor(BLOCK / columns));
  const factor = weight * scale;
  for (let start = 0; start < rows; start += step) {
    const count = Math.min(step, rows - start);
    const part = byRows.subarray(start * rank, (start + count) * rank);
    const change = product(part, byRank, { rows: count, rank, columns });
    const offset = start * columns;
    for (let i = 0; i < change.length; i++) {
      values[offset + i] = values[offset + i]! + Math.fround(factor * change[i]!);
    }
  }
}

/** The product where no faster one is at hand. */
export function plainProduct(
  left: Float32Array,
  right: Float32Array,
  { rows, rank, columns }: { rows: number; rank: number; columns: number },
): Float32Array {
  const product = new Float32Array(rows * columns);
  for (let row = 0; row < rows; row++) {
    const into = product.subarray(row * columns, (row + 1) * columns);
    for (let k = 0; k < rank; k++) {
      const factor = left[row * rank + k]!;
      const from = right.subarray(k * columns, (k + 1) * columns);
      for (let i = 0; i < columns; i++) into[i] = into[i]! + factor * from[i]!;
    }
  }
  return product;
}

function transpose(values: Float32Array, rows: number, columns: number): Float32Array {
  const turned = new Float32Array(values.length);
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      turned[column * rows + row] = values[row * columns + column]!;
    }
  }
  return turned;
}
