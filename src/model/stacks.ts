/** Linear layers that are stacked into one matrix, in this order. */
export const QKV = ['q_proj', 'k_proj', 'v_proj'] as const;
export const GATE_UP = ['gate_proj', 'up_proj'] as const;

const STACKS = [
  [new RegExp(`\\.(${QKV.join('|')})\\.`), '.qkv_proj.'],
  [new RegExp(`\\.(${GATE_UP.join('|')})\\.`), '.gate_up_proj.'],
] as const;

/** The name of the stack that a tensor is part of: the same for all of its parts; its own where it is alone. */
export function stackedName(name: string): string {
  return STACKS.reduce((stacked, [part, stack]) => stacked.replace(part, stack), name);
}

/** The tensors that a stacked one is made of, by its name. */
export function partsOf(name: string): readonly string[] {
  const parts = name.includes('.qkv_proj.') ? QKV : name.includes('.gate_up_proj.') ? GATE_UP : [];
  if (parts.length === 0) return [name];
  return parts.map((part) => name.replace(/\.(qkv|gate_up)_proj\./, `.${part}.`));
}
