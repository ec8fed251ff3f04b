import type { QuantisedBits, ScaleDtype } from '../../runtime/quantised.js';
import type { Columns, Integers } from './integers.js';

/** A quantised matrix of a checkpoint, as far as its headers tell. */
export interface HubMatrix {
  readonly rows: number;
  readonly columns: number;
  /** Such as `int4` */
  readonly dtype: string;
  /** Such as `GPTQ, groups of 128` */
  readonly how: string;
  /** Of all tensors that it is made of */
  readonly storedBytes: number;
  /** Names of these */
  readonly parts: readonly string[];
  /** null where it is not of whole numbers */
  readonly integers: IntegerFormat | null;
  /** The weights, row-major, each rounded once to float32; finite, else it throws an SdaError `bad-tensor` */
  floats(): Promise<Float32Array>;
}

/** What decides whether the kernels can take a matrix as it is. */
export interface IntegerFormat {
  readonly bits: QuantisedBits;
  readonly scales: ScaleDtype;
  readonly zeros: boolean;
  readonly columns: Columns;
  /** Scales are finite, else it throws an SdaError `bad-tensor` */
  read(): Promise<Integers>;
}

/** `groups of 128`, or `a scale a row`. */
export function describeGroups(groups: number, size: number | null): string {
  return groups === 1 || size === null ? 'a scale a row' : `groups of ${size}`;
}
