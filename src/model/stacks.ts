import type { ModelConfig } from './config.js';

/** Linear layers that are stacked into one matrix, in this order, and the name that some checkpoints have the stack by. */
const QKV = stacked(['q_proj', 'k_proj', 'v_proj'], 'qkv_proj');
const GATE_UP = stacked(['gate_proj', 'up_proj'], 'gate_up_proj');

function stacked(parts: readonly string[], stack: string) {
  return { parts, stack, part: new RegExp(`\\.(${parts.join('|')})\\.`) };
}

/** The names under which a checkpoint has what is stacked. */
export function stackedNames({ fusedProjections }: ModelConfig) {
  const of = ({ parts, stack }: typeof QKV): readonly string[] =>
    fusedProjections ? [stack] : parts;
  return { qkv: of(QKV), gateUp: of(GATE_UP) };
}

/** The name of the stack that a tensor is, or is part of; its own where it is alone. */
export function stackedName(name: string): string {
  return [QKV, GATE_UP].reduce(
    (stacked, { part, stack }) => stacked.replace(part, `.${stack}.`),
    name,
  );
}

/** Whether a tensor is the stack of q, k and v. */
export function isQkv(name: string): boolean {
  return name.includes(`.${QKV.stack}.`);
}

/** Whether a tensor is the stack of gate and up. */
export function isGateUp(name: string): boolean {
  return name.includes(`.${GATE_UP.stack}.`);
}
