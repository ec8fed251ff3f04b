import type { Checkpoint, TensorInfo } from '../../checkpoint/checkpoint.js';
import { DTYPE_NAMES } from '../../checkpoint/dtype.js';
import { SdaError } from '../../errors.js';
import type { ScaleDtype } from '../../runtime/quantised.js';

/** Types that scales are stored in. */
export const SCALE_DTYPES: Readonly<Record<string, ScaleDtype>> = DTYPE_NAMES;

/** The tensors that make up the matrix of a module, such as `model.layers.0.mlp.up_proj`. */
export class Parts {
  private readonly used = new Set<string>();

  constructor(
    private readonly checkpoint: Checkpoint,
    readonly module: string,
    /** Of the matrix, as the model's configuration has it */
    readonly rows: number,
    readonly columns: number,
  ) {}

  find(part: string): TensorInfo | undefined {
    return this.checkpoint.tensors.get(`${this.module}.${part}`);
  }

  /**
   * A part that must be there, of one of some types and one of some shapes.
   * @throws SdaError `bad-tensor` with expected and found
   */
  require(
    part: string,
    dtypes: readonly string[],
    ...shapes: readonly (readonly number[])[]
  ): TensorInfo {
    const info = this.find(part);
    const expected = `${dtypes.join(' or ')} ${shapes.map(shapeText).join(' or ')}`;
    if (!info) throw this.wrong(`${this.module}.${part} ${expected} is missing`);
    const fits = shapes.some((shape) => shapeText(shape) === shapeText(info.shape));
    if (!fits || !dtypes.includes(info.dtype)) {
      throw this.wrong(
        `${this.module}.${part} is ${info.dtype} ${shapeText(info.shape)} in ${info.file} where ${expected} is expected`,
      );
    }
    this.used.add(`${this.module}.${part}`);
    return info;
  }

  /** Counts parts that are there, but not needed, among those of the matrix. */
  claim(...parts: readonly string[]): void {
    for (const part of parts) if (this.find(part)) this.used.add(`${this.module}.${part}`);
  }

  get names(): readonly string[] {
    return [...this.used];
  }

  get bytes(): number {
    return this.names.reduce((sum, name) => sum + this.checkpoint.tensors.get(name)!.byteLength, 0);
  }

  read(part: string): Promise<Uint8Array> {
    return this.checkpoint.read(`${this.module}.${part}`);
  }

  async words(part: string): Promise<Uint32Array> {
    const bytes = await this.read(part);
    return new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);
  }

  /** Scales as stored, which must be finite. */
  async scales(part: string): Promise<Uint16Array | Float32Array> {
    const { dtype } = this.find(part)!;
    const bytes = await this.read(part);
    const count = bytes.byteLength / (dtype === 'F32' ? 4 : 2);
    const values =
      dtype === 'F32'
        ? new Float32Array(bytes.buffer, bytes.byteOffset, count)
        : new Uint16Array(bytes.buffer, bytes.byteOffset, count);
    const infinite = dtype === 'F16' ? 0x7c00 : 0x7f80;
    const odd = values.findIndex((value: number) =>
      dtype === 'F32' ? !Number.isFinite(value) : (value & infinite) === infinite,
    );
    if (odd < 0) return values;
    throw this.damaged(part, `an infinite scale or NaN at ${odd} where all must be finite`);
  }

  /** @throws SdaError `bad-tensor` where a weight is not finite */
  finite(weights: Float32Array, part: string): Float32Array {
    const odd = weights.findIndex((weight) => !Number.isFinite(weight));
    if (odd < 0) return weights;
    const [row, column] = [Math.floor(odd / this.columns), odd % this.columns];
    throw this.damaged(part, `a weight at [${row}, ${column}] that is infinite or NaN`);
  }

  /** What is wrong with the values of a part. */
  damaged(part: string, what: string): SdaError {
    const { file } = this.find(part)!;
    return this.wrong(`${this.module}.${part} of ${file} has ${what}`);
  }

  wrong(what: string): SdaError {
    return new SdaError('bad-tensor', `${what}; download config.json and weights of one revision.`);
  }
}

function shapeText(shape: readonly number[]): string {
  return `[${shape.join(', ')}]`;
}

/** Shapes, each once. */
export function distinct(shapes: readonly (readonly number[])[]): readonly (readonly number[])[] {
  return [...new Map(shapes.map((shape) => [shape.join(), shape])).values()];
}
