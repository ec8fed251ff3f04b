import type { QuantisedBits } from '../runtime/quantised.js';
import type { TensorSpec } from './families.js';
import { isGateUp, stackedName } from './stacks.js';

/** A tensor of a quantised model, with the names of what it is made of. */
export interface QuantisedSpec extends TensorSpec {
  readonly sources: readonly string[];
}

/** The tensors of a quantised model: matrices stacked as kernels take them, the others as they are. */
export function quantisedSpecs(
  specs: readonly TensorSpec[],
  bitsOf: (spec: TensorSpec, parts: number) => QuantisedBits,
): readonly QuantisedSpec[] {
  const stacks = new Map<string, TensorSpec[]>();
  for (const spec of specs) {
    const key = spec.shape.length > 1 ? stackedName(spec.name) : spec.name;
    stacks.set(key, [...(stacks.get(key) ?? []), spec]);
  }
  return [...stacks].map(([name, sources]) => {
    const [first] = sources;
    const made = { ...first!, name, sources: sources.map((source) => source.name) };
    if (first!.shape.length === 1) return made;
    const columns = first!.shape[1]!;
    const rows = sources.reduce((sum, { shape }) => sum + shape[0]!, 0);
    const parts = isGateUp(name) ? 2 : 1;
    const spec = { ...made, shape: [rows, columns] };
    return { ...spec, quantised: { bits: bitsOf(spec, parts), rows, columns, parts } };
  });
}
