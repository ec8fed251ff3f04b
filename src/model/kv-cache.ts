import { keep, scalar, type Tensor, type Tensor2D, tidy, zeros } from '@tensorflow/tfjs-core';
import { copyRow } from '../../kernels/copy-row/index.js';
import type { LayerCache } from '../../kernels/decoder-layer/index.js';
import { attr, executeOp, TfDtype } from '../runtime/backend.js';
import {
  BYTES_PER_ELEMENT,
  castTo,
  float32Tensor,
  int32Tensor,
} from '../runtime/device-tensors.js';
import type { ModelConfig } from './config.js';
import type { KvDtype } from './kv-dtype.js';
import { rotationLength, rotations } from './rotation.js';

/** TensorFlow frees a variable of this name with its last handle, and never shares it. */
const ANONYMOUS = 'cd2c89b7-88b7-44c8-ad83-06c2a9158347';
/** Capacity grows in multiples of this many positions. */
const BLOCK = 64;

/**
 * Keys and values of every layer for a fixed number of rows (streams), and the rotary angles of its positions. Slot p
 * of a row holds position p.
 * Appending writes in place; only growth, which at least doubles the capacity, copies the past.
 */
export class KvCache {
  readonly rows: number;
  readonly dtype: KvDtype;
  /** Keys and values of each layer in turn */
  private readonly variables: Tensor[] = [];
  private readonly config: ModelConfig;
  private readonly maxCapacity: number;
  private slots: number;
  private angles: { readonly table: Tensor2D; readonly length: number } | undefined;

  /**
   * @param rows streams held, at least 1
   * @param capacity positions to make room for at once; grows up to `maxCapacity`
   * @param dtype of keys and values; default float32
   * @throws what TensorFlow throws where memory runs out; then nothing stays on the device
   */
  constructor(
    config: ModelConfig,
    rows: number,
    capacity: number,
    maxCapacity: number,
    dtype: KvDtype = 'float32',
  ) {
    this.config = config;
    this.rows = rows;
    this.dtype = dtype;
    this.maxCapacity = maxCapacity;
    this.slots = Math.min(roundUp(Math.max(capacity, 1)), maxCapacity);
    try {
      while (this.variables.length < 2 * config.numLayers) this.variables.push(this.allocate());
    } catch (error) {
      this.dispose();
      throw error;
    }
  }

  /** Positions a row can hold now. */
  get capacity(): number {
    return this.slots;
  }

  layer(index: number): LayerCache {
    const keys = this.variables[2 * index]!;
    const values = this.variables[2 * index + 1]!;
    return { keys, values, dtype: this.dtype, rows: this.rows, capacity: this.slots };
  }

  /**
   * The rotary angles of all positions that a row can hold now, while `length` are in use.
   *
   * @returns float32 [capacity, headDim], see `rotations`; it belongs to the cache.
   */
  rotation(length: number): Tensor2D {
    const { config, slots, angles } = this;
    const known = rotationLength(config, length);
    if (angles && angles.length === known && angles.table.shape[0] === slots) return angles.table;
    this.angles = undefined; // before the rest can fail: a table is not used after its end
    angles?.table.dispose();
    const values = rotations(config, slots, length);
    const table = keep(float32Tensor(values, [slots, config.headDim]) as Tensor2D);
    this.angles = { table, length: known };
    return table;
  }

  /**
   * Makes room for `length` positions a row; `length` must not exceed the maximum capacity.
   *
   * @throws what TensorFlow throws where memory runs out; then the past is still there, and growth can be tried again
   */
  ensure(length: number): void {
    if (length <= this.slots) return;
    const grown = Math.min(roundUp(Math.max(length, 2 * this.slots)), this.maxCapacity);
    for (const variable of this.variables) {
      tidy(() => {
        const past = this.read(variable);
        const added = grown - past.shape[2]!; // none where an earlier try to grow failed after this one
        if (added <= 0) return;
        const around = int32Tensor(Int32Array.of(0, 0, 0, 0, 0, added, 0, 0), [4, 2]);
        this.assign(variable, executeOp('Pad', [], [past, around])[0]!); // with zeros
      });
    }
    this.slots = grown;
  }

  /** Copies positions 0..length-1 of one row to another, in every layer. */
  copyRow(from: number, to: number, length: number): void {
    const { numKeyValueHeads: heads, headDim } = this.config;
    const shape = [this.rows, heads, this.slots, headDim] as const;
    copyRow({ variables: this.variables, shape, dtype: this.dtype }, { from, to, length });
  }

  dispose(): void {
    for (const variable of this.variables) variable.dispose();
    this.angles?.table.dispose();
  }

  private allocate(): Tensor {
    const { numKeyValueHeads: heads, headDim } = this.config;
    const [variable] = executeOp(
      'VarHandleOp',
      [
        this.type,
        attr.shape('shape', [this.rows, heads, -1, headDim]),
        attr.string('shared_name', ANONYMOUS),
      ],
      [],
    );
    try {
      tidy(() => this.assign(variable!, this.zeros([this.rows, heads, this.slots, headDim])));
    } catch (error) {
      variable!.dispose();
      throw error;
    }
    return keep(variable!);
  }

  private zeros(shape: [number, number, number, number]): Tensor {
    if (this.dtype === 'float32') return zeros(shape);
    return executeOp('Fill', [], [indices(...shape), castTo(scalar(0), this.dtype)])[0]!;
  }

  private get type() {
    return attr.type('dtype', TfDtype[this.dtype]);
  }

  private read(variable: Tensor): Tensor {
    return executeOp('ReadVariableOp', [this.type], [variable])[0]!;
  }

  private assign(variable: Tensor, value: Tensor): void {
    executeOp('AssignVariableOp', [this.type], [variable, value], 0);
  }
}

/** Bytes that one position of one row takes, over all layers. */
export function kvBytesPerToken(config: ModelConfig, dtype: KvDtype = 'float32'): number {
  const { numLayers, numKeyValueHeads, headDim } = config;
  return 2 * numLayers * numKeyValueHeads * headDim * BYTES_PER_ELEMENT[dtype];
}

/** Within a tidy, which disposes it. */
function indices(...values: number[]): Tensor {
  return int32Tensor(Int32Array.from(values));
}

function roundUp(length: number): number {
  return Math.ceil(length / BLOCK) * BLOCK;
}
