import { SdaError } from '../../errors.js';
import type { Checkpoint, TensorInfo } from '../checkpoint.js';
import { isWeightDtype, WEIGHT_DTYPES } from '../dtype.js';
import { listSome } from '../json-file.js';
import type { AdapterConfig } from './config.js';

/** W + scale * left right, of a tensor [rows, columns]; the names are those of the adapter's tensors. */
export interface LowRank {
  /** Holds [rows, rank], or with `transposed` [rank, rows] */
  readonly left: string;
  /** Holds [rank, columns], or with `transposed` [columns, rank] */
  readonly right: string;
  /** Of an embedding, whose rows are inputs */
  readonly transposed: boolean;
  readonly rank: number;
  readonly scale: number;
}

/** What an adapter does to one tensor of its base model. */
export interface Change {
  /** The adapter's tensor that takes its place first */
  replacement?: string;
  lowRank?: LowRank;
}

const PREFIX = 'base_model.model.';
const LINEAR = /^(.+)\.lora_([AB])\.weight$/;
const EMBEDDING = /^(.+)\.lora_embedding_([AB])$/;
const WHOLE = /^(.+?)\.(?:base_layer\.|modules_to_save\.(?:default\.)?)?(weight|bias)$/;

/**
 * Sorts an adapter's tensors by the tensors of the base model that they change, and checks ranks and shapes.
 * @param base the base model's tensors by name
 * @throws SdaError `bad-tensor` for what does not fit the base model, `unsupported` for tensors of another method
 */
export function changesOf(
  adapter: Checkpoint,
  config: AdapterConfig,
  base: ReadonlyMap<string, TensorInfo>,
): ReadonlyMap<string, Change> {
  const changes = new Map<string, Change>();
  const change = (name: string) => {
    const made = changes.get(name) ?? {};
    changes.set(name, made);
    return made;
  };
  const pairs = new Map<string, Pair>();
  for (const [name, { dtype }] of adapter.tensors) {
    const own = name.startsWith(PREFIX) ? name.slice(PREFIX.length) : '';
    const [, module, half] = LINEAR.exec(own) ?? EMBEDDING.exec(own) ?? [];
    const [, whole, kind] = WHOLE.exec(own) ?? [];
    if (!isWeightDtype(dtype)) throw oddDtype(adapter, name, dtype);
    if (module !== undefined) {
      const pair = pairs.get(module) ?? { embedding: EMBEDDING.test(own) };
      pairs.set(module, { ...pair, [half as 'A' | 'B']: name });
    } else if (whole !== undefined && !own.includes('lora_')) {
      change(`${whole}.${kind}`).replacement = name;
    } else throw foreign(adapter, name);
  }
  for (const [module, pair] of pairs) {
    change(`${module}.weight`).lowRank = lowRankOf(module, pair, adapter, config);
  }
  if (changes.size === 0) throw foreign(adapter, 'no tensor');
  checkShapes(changes, adapter, base);
  return changes;
}

interface Pair {
  readonly embedding: boolean;
  readonly A?: string;
  readonly B?: string;
}

function lowRankOf(
  module: string,
  { embedding, A, B }: Pair,
  adapter: Checkpoint,
  config: AdapterConfig,
): LowRank {
  if (A === undefined || B === undefined) {
    throw new SdaError(
      'bad-tensor',
      `The adapter ${adapter.dir} has only ${A ?? B} of the two matrices of ${module}; save it again.`,
    );
  }
  const { rank, scale } = config.scaling(module);
  const found = adapter.tensors.get(A)!.shape[0] ?? 0;
  if (found !== rank) {
    throw new SdaError(
      'bad-tensor',
      `The adapter ${adapter.dir} has ${A} of rank ${found} where ${config.file} says ${rank}; take both from the same training.`,
    );
  }
  const sides = embedding ? { left: A, right: B } : { left: B, right: A };
  return { ...sides, transposed: embedding, rank, scale };
}

function checkShapes(
  changes: ReadonlyMap<string, Change>,
  adapter: Checkpoint,
  base: ReadonlyMap<string, TensorInfo>,
): void {
  const wrong = [...changes].flatMap(([name, { replacement, lowRank }]) => {
    const target = base.get(name);
    if (!target) return [`${name} is not there`];
    if (!isWeightDtype(target.dtype)) return [`${name} is ${target.dtype} there`];
    const expected = `[${target.shape.join(', ')}]`;
    const shape = (of: string) => adapter.tensors.get(of)!.shape;
    const found: (readonly number[])[] = replacement ? [shape(replacement)] : [];
    if (lowRank) found.push(productShape(shape(lowRank.left), shape(lowRank.right), lowRank));
    const other = found.find((its) => `[${its.join(', ')}]` !== expected);
    return other ? [`${name} is ${expected} there and [${other.join(', ')}] here`] : [];
  });
  if (wrong.length === 0) return;
  throw new SdaError(
    'bad-tensor',
    `The adapter ${adapter.dir} does not fit the base model in ${wrong.length} tensors: ${listSome(wrong)}; take the model that it was trained on.`,
  );
}

/** The shape of left times right; [] where they do not go together. */
function productShape(
  left: readonly number[],
  right: readonly number[],
  { transposed, rank }: LowRank,
): readonly number[] {
  const [rows, leftRank] = transposed ? [left[1], left[0]] : left;
  const [rightRank, columns] = transposed ? [right[1], right[0]] : right;
  const fit = left.length === 2 && right.length === 2 && leftRank === rank && rightRank === rank;
  return fit ? [rows!, columns!] : [];
}

function oddDtype(adapter: Checkpoint, name: string, dtype: string): SdaError {
  return new SdaError(
    'unsupported',
    `The adapter ${adapter.dir} stores ${name} as ${dtype} where ${WEIGHT_DTYPES.join(', ')} are supported; save it again.`,
  );
}

function foreign(adapter: Checkpoint, name: string): SdaError {
  return new SdaError(
    'unsupported',
    `The adapter ${adapter.dir} holds ${name} where the tensors of LoRA (${PREFIX}....lora_A.weight) are expected; merge it with PEFT's merge_and_unload.`,
  );
}
