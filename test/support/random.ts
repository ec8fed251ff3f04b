import { type Tensor, type Tensor1D, type Tensor2D, tensor } from '@tensorflow/tfjs-core';
import { uniformFloat64 } from 'pure-rand/distribution/uniformFloat64';
import { mersenne } from 'pure-rand/generator/mersenne';
import type { DeviceDtype } from '../../src/runtime/backend.js';
import { castTo } from '../../src/runtime/device-tensors.js';

/** Seeded random numbers and tensors, the same in every run. */
export class Random {
  private readonly generator: ReturnType<typeof mersenne>;

  constructor(seed: number) {
    this.generator = mersenne(seed);
  }

  /** 0..1, 1 excluded */
  uniform(): number {
    return uniformFloat64(this.generator);
  }

  /** Standard normal (Box and Muller) */
  normal(): number {
    const radius = Math.sqrt(-2 * Math.log(1 - this.uniform()));
    return radius * Math.cos(2 * Math.PI * this.uniform());
  }

  normals(count: number, scale = 1): Float32Array {
    return Float32Array.from({ length: count }, () => scale * this.normal());
  }

  vector(size: number, scale = 1): Tensor1D {
    return tensor(this.normals(size, scale), [size]) as Tensor1D;
  }

  /** A matrix of the given type on the device */
  matrix(rows: number, columns: number, scale = 1, dtype: DeviceDtype = 'float32'): Tensor2D {
    const wide: Tensor = tensor(this.normals(rows * columns, scale), [rows, columns]);
    if (dtype === 'float32') return wide as Tensor2D;
    const narrow = castTo(wide, dtype);
    wide.dispose();
    return narrow as Tensor2D;
  }
}
