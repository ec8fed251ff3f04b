import type { TensorInfo } from './safetensors.js';

/** Segments that training frameworks put around a module: torch.compile, FSDP, checkpointing, DeepSpeed. */
const WRAPPERS =
  /(?<=^|\.)(_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module|_forward_module)\./g;

/** What stands before a tensor of a layer: any segments, and the decoder's own `model.`. */
const LAYER = /^((?:[^.]+\.)*?)(model\.)?layers\.\d+\./;

/** Tensors by the names that transformers gives them, and what was done for it. */
export interface NamedTensors {
  readonly tensors: ReadonlyMap<string, TensorInfo>;
  /** A sentence for people where names were changed */
  readonly warnings: readonly string[];
}

/**
 * Names of a decoder's tensors as a causal language model of transformers has them (`model.layers...`, `lm_head...`):
 * without the segments of training frameworks, without a prefix that all of them share, and with `model.` where the
 * decoder was saved alone. Names that would then fall together, or that have no prefix in common, stay as they are.
 */
export function transformersNames(
  tensors: ReadonlyMap<string, TensorInfo>,
  dir: string,
): NamedTensors {
  const names = [...tensors.keys()];
  const bare = names.map((name) => name.replaceAll(WRAPPERS, ''));
  const found = bare.map((name) => LAYER.exec(name)).find((match) => match !== null);
  const [, prefix = '', model] = found ?? [];
  const renamed = bare.map((name) => rename(name, prefix, found != null && model === undefined));
  const changed = renamed.findIndex((name, i) => name !== names[i]);
  const shared = bare.every((name) => name.startsWith(prefix));
  if (changed < 0 || !shared || new Set(renamed).size < names.length) {
    return { tensors, warnings: [] };
  }
  return {
    tensors: new Map(renamed.map((name, i) => [name, tensors.get(names[i]!)!])),
    warnings: [
      `The tensors in ${dir} have names of another form: ${names[changed]} is taken as ${renamed[changed]}, and so are the others.`,
    ],
  };
}

function rename(name: string, prefix: string, alone: boolean): string {
  const rest = name.slice(prefix.length);
  return alone && !rest.startsWith('lm_head.') ? `model.${rest}` : rest;
}
