/** Another project's names of a decoder's modules -> transformers'. */
export interface ModuleNames {
  /** Of embedding, last norm and head */
  readonly whole: Readonly<Record<string, string>>;
  /** Of a layer's modules, after the layer's own name */
  readonly inLayer: Readonly<Record<string, string>>;
}

/**
 * transformers' name of a module, null where it has no place in a decoder.
 * @param layer its number, undefined for a module of the whole
 */
export function transformersModule(
  names: ModuleNames,
  layer: string | undefined,
  module: string,
): string | null {
  const table = layer === undefined ? names.whole : names.inLayer;
  if (!Object.hasOwn(table, module)) return null;
  return layer === undefined ? table[module]! : `model.layers.${layer}.${table[module]}`;
}
