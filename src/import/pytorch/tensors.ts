import type { TensorDtype } from '../../checkpoint/dtype.js';
import { SdaError } from '../../errors.js';
import type { PickleHandlers } from './pickle.js';
import { Global, PickleDict, PickleList, type PickleValue } from './pickle-values.js';

/** Elements of one dtype that several tensors may share. */
export class Storage {
  constructor(
    /** Names its bytes among those of the file */
    readonly key: string,
    /** null: bytes without a type */
    readonly dtype: TensorDtype | null,
    /** In elements of `dtype`, or in bytes */
    readonly length: number,
    /** Of its first element in the bytes that the key names, in elements; other than 0 only in old files */
    readonly start = 0,
  ) {}
}

/** A tensor as torch rebuilds it: a view of a storage. */
export class PickledTensor {
  constructor(
    readonly storage: Storage,
    readonly dtype: TensorDtype,
    /** Of its first element in the storage, in elements */
    readonly offset: number,
    readonly shape: readonly number[],
    /** In elements */
    readonly strides: readonly number[],
  ) {}
}

/** torch's storage classes -> the dtype in safetensors' terms. */
const STORAGES: Readonly<Record<string, TensorDtype>> = {
  FloatStorage: 'F32',
  HalfStorage: 'F16',
  BFloat16Storage: 'BF16',
  DoubleStorage: 'F64',
  LongStorage: 'I64',
  IntStorage: 'I32',
  ShortStorage: 'I16',
  CharStorage: 'I8',
  ByteStorage: 'U8',
  BoolStorage: 'BOOL',
  ComplexFloatStorage: 'C64',
};

/** torch's dtypes, which storages without a type name. */
const DTYPES: Readonly<Record<string, TensorDtype>> = {
  float32: 'F32',
  float16: 'F16',
  bfloat16: 'BF16',
  float64: 'F64',
  int64: 'I64',
  int32: 'I32',
  int16: 'I16',
  int8: 'I8',
  uint64: 'U64',
  uint32: 'U32',
  uint16: 'U16',
  uint8: 'U8',
  bool: 'BOOL',
  complex64: 'C64',
  float8_e4m3fn: 'F8_E4M3',
  float8_e5m2: 'F8_E5M2',
  float8_e4m3fnuz: 'F8_E4M3FNUZ',
  float8_e5m2fnuz: 'F8_E5M2FNUZ',
  float8_e8m0fnu: 'F8_E8M0',
};

const UNTYPED = /^torch\.storage\._?UntypedStorage$/;
const STORAGE = /^torch(?:\.cuda)?\.(\w+Storage)$/;
const DTYPE = /^torch\.(\w+)$/;

/** The dtype of a storage class that a pickle names, null for bytes without a type; undefined where it is none. */
function storageDtype(name: string): TensorDtype | null | undefined {
  if (UNTYPED.test(name)) return null;
  return own(STORAGES, STORAGE.exec(name)?.[1]);
}

function own<T>(table: Readonly<Record<string, T>>, key: string | undefined): T | undefined {
  return key !== undefined && Object.hasOwn(table, key) ? table[key] : undefined;
}

type Args = readonly PickleValue[];

const FROM_TYPE = 'torch._tensor._rebuild_from_type_v2';

/**
 * Gives the few names that tensors need their meaning, and refuses all others.
 * Source: torch's `_utils.py` and `serialization.py`, 2.x and the forms of 0.4 to 1.x.
 */
export class TensorHandlers implements PickleHandlers {
  private readonly functions: Readonly<Record<string, (args: Args) => PickleValue>> = {
    'collections.OrderedDict': (args) => this.dict(args),
    'torch.Size': (args) => args[0] ?? [],
    'torch._utils._rebuild_tensor': (args) => this.tensor(args),
    'torch._utils._rebuild_tensor_v2': (args) => this.tensor(args),
    'torch._utils._rebuild_tensor_v3': (args) => this.tensor(args, args[6]),
    'torch._utils._rebuild_parameter': (args) => this.parameter(args),
    'torch._utils._rebuild_parameter_with_state': (args) => this.parameter(args),
    [FROM_TYPE]: (args) => this.fromType(args),
  };

  /** @param what the file, for errors */
  constructor(private readonly what: string) {}

  global(name: string): PickleValue {
    const known =
      own(this.functions, name) ||
      storageDtype(name) !== undefined ||
      own(DTYPES, DTYPE.exec(name)?.[1]) ||
      PLAIN_CLASSES.includes(name);
    if (known) return new Global(name);
    throw new SdaError(
      'unsupported',
      `${this.what} names ${name}, which a file of tensors does not need and which is never run here; save the plain state_dict with torch.save.`,
    );
  }

  call(callable: PickleValue, args: Args): PickleValue {
    const name = callable instanceof Global ? callable.name : '';
    const body = own(this.functions, name);
    if (!body) throw this.odd(`calls ${name || 'what is no function'}`);
    return body(args);
  }

  /** An OrderedDict's attributes, such as the versions of a model's modules, say nothing of its tensors. */
  build(object: PickleValue): void {
    if (!(object instanceof PickleDict)) throw this.odd('sets attributes of what is no dict');
  }

  persistent(id: PickleValue): PickleValue {
    const [kind, type, key, , length, view] = Array.isArray(id) ? (id as Args) : [];
    const dtype = type instanceof Global ? storageDtype(type.name) : undefined;
    if (kind !== 'storage' || dtype === undefined || typeof key !== 'string' || !isCount(length)) {
      throw this.odd('names bytes outside of it that are no storage');
    }
    if (view == null) return new Storage(key, dtype, length);
    const [, start, viewLength] = Array.isArray(view) ? (view as Args) : [];
    if (!isCount(start) || !isCount(viewLength) || start + viewLength > length) {
      throw this.odd('holds a view that exceeds its storage');
    }
    return new Storage(key, dtype, viewLength, start);
  }

  private dict([pairs]: Args): PickleDict {
    const dict = new PickleDict();
    for (const pair of pairs instanceof PickleList ? pairs.items : []) {
      const [key, value] =
        pair instanceof PickleList ? pair.items : Array.isArray(pair) ? pair : [];
      if (key === undefined || value === undefined) throw this.odd('holds a dict that is no pairs');
      dict.entries.set(key, value);
    }
    return dict;
  }

  private parameter([data]: Args): PickledTensor {
    if (data instanceof PickledTensor) return data;
    throw this.odd('holds a parameter that is no tensor');
  }

  /** A tensor with attributes of its own: (function, class, arguments, attributes). */
  private fromType([callable, , args]: Args): PickleValue {
    const nested = callable instanceof Global && callable.name === FROM_TYPE;
    if (!Array.isArray(args) || nested) throw this.odd('holds a tensor without a form');
    return this.call(callable!, args as Args);
  }

  private tensor([storage, offset, shape, strides]: Args, named?: PickleValue): PickledTensor {
    const typed = named instanceof Global ? own(DTYPES, DTYPE.exec(named.name)?.[1]) : undefined;
    const dtype = storage instanceof Storage ? (storage.dtype ?? typed) : undefined;
    if (!(storage instanceof Storage) || !dtype) throw this.odd('holds a tensor without a storage');
    if (
      !isCount(offset) ||
      !isShape(shape) ||
      !isShape(strides) ||
      shape.length !== strides.length
    ) {
      throw this.odd('holds a tensor whose offset, sizes and strides are no numbers');
    }
    return new PickledTensor(storage, dtype, offset, shape, strides);
  }

  private odd(how: string): SdaError {
    return new SdaError('bad-file', `${this.what} ${how}; it is damaged, download it again.`);
  }
}

/** Classes that stand in a pickle only as arguments. */
const PLAIN_CLASSES = ['torch.Tensor', 'torch.nn.parameter.Parameter'];

/** More axes than torch's tensors can have. */
const MOST_AXES = 64;

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

function isShape(value: unknown): value is readonly number[] {
  return Array.isArray(value) && value.length <= MOST_AXES && value.every(isCount);
}
