import { castCheckpoint } from '../../checkpoint/cast.js';
import type { Checkpoint, TensorInfo } from '../../checkpoint/checkpoint.js';
import { derivedCheckpoint } from '../../checkpoint/derived.js';
import type { WeightDtype } from '../../checkpoint/dtype.js';
import type { QuantisedForm } from '../../runtime/quantised.js';
import type { ModelConfig } from '../config.js';
import type { CheckedTensors, TensorSpec } from '../families.js';
import { type Reorder, rowOrderOf } from '../partial-rotation.js';
import { type Quantised, quantisedInfo } from '../quantised-checkpoint.js';
import { quantisedSpecs } from '../quantised-specs.js';
import { isQkv } from '../stacks.js';
import { blocksOf } from './blocks.js';
import { inKernelGroups } from './integers.js';
import type { IntegerFormat } from './matrix.js';
import type { HubWeights } from './open.js';

/** The dtype of what the kernels do not take as it is: that of the model, in which transformers computes with it, too. */
function fallbackDtype({ dtype }: ModelConfig): WeightDtype {
  if (dtype === 'float16') return 'F16';
  return dtype === 'float32' ? 'F32' : 'BF16';
}

/**
 * A checkpoint whose matrices of whole numbers are those of another maker, to the bit, in the layout of the kernels. A stack
 * whose matrices differ in bits or in the order of columns, and what is not of whole numbers, or in groups that the kernels
 * do not have, becomes {@link fallbackDtype}.
 */
export function carriedCheckpoint(
  config: ModelConfig,
  hub: HubWeights,
  checked: CheckedTensors,
): Quantised {
  const base = hub.as(fallbackDtype(config));
  const stacks = quantisedSpecs(checked.specs, () => 8);
  const formats = new Map<string, readonly IntegerFormat[]>();
  const specs = stacks.flatMap((spec): readonly TensorSpec[] => {
    const parts = spec.sources.map((name) => hub.matrices.get(name)?.integers);
    const together = carriedTogether(parts);
    if (!spec.quantised || !together) {
      return checked.specs.filter(({ name }) => spec.sources.includes(name));
    }
    formats.set(spec.name, parts as IntegerFormat[]);
    return [{ ...spec, quantised: { ...spec.quantised, ...together } }];
  });
  const inOrder = rowOrderOf(config);
  const sourceOf = new Map(stacks.map(({ name, sources }) => [name, sources[0]!]));
  const tensors = specs.map(({ name, quantised }): [string, TensorInfo] => {
    if (!quantised) return [name, base.tensors.get(name)!];
    return [name, quantisedInfo(name, base.tensors.get(sourceOf.get(name)!)!, quantised)];
  });
  const specOf = new Map(specs.map((spec) => [spec.name, spec]));
  const checkpoint: Checkpoint = derivedCheckpoint(base, {
    tensors: new Map(tensors),
    read: async (name, into) => {
      const parts = formats.get(name);
      if (!parts) return base.read(name, into);
      const { quantised } = specOf.get(name)!;
      const matrices = [];
      for (const part of parts) matrices.push(await part.read());
      const order = inOrder && isQkv(name) ? rowsOf(inOrder, quantised!.rows) : undefined;
      return blocksOf(matrices, quantised!, into, order);
    },
  });
  return { checkpoint, checked: { ...checked, specs } };
}

/**
 * What is loaded of a folder whose weights are quantised as others do it, where no type is asked for.
 *
 * @param plain with plain matrices
 * @param asFloats where kernels for whole numbers are of no use: on a GPU without them, and where adapters have changed
 *   weights
 */
export function hubToLoad(
  config: ModelConfig,
  hub: HubWeights,
  plain: Quantised,
  asFloats: boolean,
): Quantised {
  if (!asFloats) return carriedCheckpoint(config, hub, plain.checked);
  const checkpoint = castCheckpoint(plain.checkpoint, fallbackDtype(config), (name) =>
    hub.matrices.has(name),
  );
  return { ...plain, checkpoint };
}

/** The form that holds all matrices of a stack exactly; null where there is none. */
function carriedTogether(parts: readonly (IntegerFormat | null | undefined)[]) {
  const [first] = parts;
  if (!first) return null;
  const alike = parts.every(
    (part) =>
      part &&
      part.bits === first.bits &&
      inKernelGroups(part.columns) &&
      sameOrder(part.columns.order, first.columns.order),
  );
  if (!alike) return null;
  const all = parts as readonly IntegerFormat[];
  const form: QuantisedForm = {
    scales: all.every(({ scales }) => scales === first.scales) ? first.scales : 'float32',
    zeros: all.some(({ zeros }) => zeros) ? 'whole' : 'none',
    ordered: first.columns.order !== null,
  };
  return { bits: first.bits, form };
}

function sameOrder(a: Int32Array | null, b: Int32Array | null): boolean {
  if (a === null || b === null) return a === b;
  return a.every((column, place) => column === b[place]);
}

/** For each row of a stack that is reordered, which one it was. */
function rowsOf(reorder: Reorder, rows: number): Uint32Array {
  const sources = Uint32Array.from({ length: rows }, (_, row) => row);
  reorder(new Uint8Array(sources.buffer), rows);
  return sources;
}
