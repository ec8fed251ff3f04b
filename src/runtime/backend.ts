import {
  type DataId,
  engine,
  getBackend,
  type Tensor,
  type TensorInfo,
} from '@tensorflow/tfjs-core';
import { SdaError } from '../errors.js';

/** TensorFlow's numbers for the element types used here (TF_DataType in TensorFlow's C API). */
export const TfDtype = {
  float32: 1,
  int32: 3,
  string: 7,
  bool: 10,
  bfloat16: 14,
  float16: 19,
  resource: 20,
} as const;

/** Element types a weight can have on the device. */
export type DeviceDtype = 'float32' | 'bfloat16' | 'float16';

/** An attribute of a TensorFlow operation, as the tfjs binding takes it. */
export interface OpAttribute {
  readonly name: string;
  readonly type: number;
  readonly value: unknown;
}

interface OutputMetadata {
  readonly id: number;
  readonly shape: number[];
  readonly dtype: number;
}

/** The part of tfjs-node's C++ binding that this package calls. */
export interface TfBinding {
  readonly TF_ATTR_STRING: number;
  readonly TF_ATTR_INT: number;
  readonly TF_ATTR_FLOAT: number;
  readonly TF_ATTR_BOOL: number;
  readonly TF_ATTR_TYPE: number;
  readonly TF_ATTR_SHAPE: number;
  readonly TF_Version: string;
  createTensor(shape: number[], dtype: number, values: ArrayBufferView): number;
  deleteTensor(id: number): void;
  tensorDataSync(id: number): Float32Array | Int32Array | Uint8Array;
  executeOp(
    name: string,
    attrs: OpAttribute[],
    inputs: number[],
    outputs: number,
  ): OutputMetadata[];
  isUsingGpuDevice(): boolean;
}

interface TensorData {
  shape: number[];
  dtype: number;
  values: ArrayBufferView | null;
  id: number;
  refCount: number;
}

/** The part of tfjs-node's backend that this package calls. */
export interface NodeBackend {
  readonly binding: TfBinding;
  readonly tensorMap: { get(id: DataId): TensorData; set(id: DataId, data: TensorData): void };
  readonly isUsingGpuDevice: boolean;
  incRef(id: DataId): void;
  getInputTensorIds(tensors: readonly TensorInfo[]): number[];
}

/** The running TensorFlow backend; throws when `startTensorFlow` has not been called. */
export function nodeBackend(): NodeBackend {
  if (running) return running;
  if (getBackend() !== 'tensorflow') {
    throw new SdaError(
      'runtime',
      'TensorFlow is not running: call startTensorFlow() (loadModel does) before using tensors.',
    );
  }
  running = engine().backend as unknown as NodeBackend;
  return running;
}

/** The backend once it runs: asked for by every operation, and never replaced. */
let running: NodeBackend | undefined;

/** True when tensors live on an NVIDIA GPU. */
export function onGpu(): boolean {
  return nodeBackend().isUsingGpuDevice;
}

/**
 * Registers a TensorFlow handle with tfjs, so that `dispose`, `tidy` and `memory()` see it. tfjs has no
 * 16-bit types: bfloat16 and float16 handles are labelled float32, and `deviceDtype` tells the truth.
 */
export function adoptHandle({ id, shape, dtype }: OutputMetadata): Tensor {
  const dataId: DataId = {};
  nodeBackend().tensorMap.set(dataId, { id, shape, dtype, values: null, refCount: 1 });
  return engine().makeTensorFromTensorInfo({
    dataId,
    shape,
    dtype: LABELS.get(dtype) ?? 'float32',
  });
}

const LABELS: ReadonlyMap<number, 'int32' | 'bool' | 'string'> = new Map([
  [TfDtype.int32, 'int32'],
  [TfDtype.bool, 'bool'],
  [TfDtype.string, 'string'],
  [TfDtype.resource, 'string'],
]);

/** Runs one TensorFlow operation eagerly. The caller owns the returned tensors. */
export function executeOp(
  name: string,
  attributes: OpAttribute[],
  inputs: readonly TensorInfo[],
  outputs = 1,
): Tensor[] {
  const backend = nodeBackend();
  const ids = backend.getInputTensorIds(inputs);
  return backend.binding.executeOp(name, attributes, ids, outputs).map(adoptHandle);
}

/** The element type a tensor really has on the device. */
export function deviceDtype(tensor: TensorInfo): DeviceDtype | 'int32' | 'bool' | 'other' {
  switch (nodeBackend().tensorMap.get(tensor.dataId).dtype) {
    case TfDtype.float32:
      return 'float32';
    case TfDtype.bfloat16:
      return 'bfloat16';
    case TfDtype.float16:
      return 'float16';
    case TfDtype.int32:
      return 'int32';
    case TfDtype.bool:
      return 'bool';
    default:
      return 'other';
  }
}

/** Builders for operation attributes. */
export const attr = {
  int: (name: string, value: number): OpAttribute => make(name, 'TF_ATTR_INT', value),
  ints: (name: string, values: number[]): OpAttribute => make(name, 'TF_ATTR_INT', values),
  float: (name: string, value: number): OpAttribute => make(name, 'TF_ATTR_FLOAT', value),
  bool: (name: string, value: boolean): OpAttribute => make(name, 'TF_ATTR_BOOL', value),
  type: (name: string, value: number): OpAttribute => make(name, 'TF_ATTR_TYPE', value),
  shape: (name: string, value: number[]): OpAttribute => make(name, 'TF_ATTR_SHAPE', value),
  string: (name: string, value: string): OpAttribute => make(name, 'TF_ATTR_STRING', value),
};

type AttributeKind = Extract<keyof TfBinding, `TF_ATTR_${string}`>;

function make(name: string, kind: AttributeKind, value: unknown): OpAttribute {
  return { name, type: nodeBackend().binding[kind], value };
}
