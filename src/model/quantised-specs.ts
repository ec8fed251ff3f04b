import type { QuantisedBits } from '../runtime/quantised.js';
import type { TensorSpec } from './families.js';
import { stackedName } from './stacks.js';

/** The tensors of a quantised model: matrices stacked as kernels take them, the others as they are. */
export function quantisedSpecs(
  specs: readonly TensorSpec[],
  bitsOf: (spec: Omit<TensorSpec, 'quantised'>, parts: number) => QuantisedBits,
): readonly TensorSpec[] {
  const stacks = new Map<string, TensorSpec[]>();
  for (const spec of specs) {
    const key = spec.shape.length > 1 ? stackedName(spec.name) : spec.name;
    stacks.set(key, [...(stacks.get(key) ?? []), spec]);
  }
  return [...stacks].map(([name, [first, ...others]]) => {
    if (first!.shape.length === 1) return first!;
    const columns = first!.shape[1]!;
    const rows = [first!, ...others].reduce((sum, { shape }) => sum + shape[0]!, 0);
    const spec = { ...first!, name, shape: [rows, columns] };
    const parts = name.includes('.gate_up_proj.') ? 2 : 1;
    return { ...spec, quantised: { bits: bitsOf(spec, parts), rows, columns, parts } };
  });
}
