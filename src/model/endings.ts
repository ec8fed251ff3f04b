/** A token that ends an answer, and who names it. */
export interface Ending {
  readonly id: number;
  /** generation_config.json, config.json, then the tokenizer */
  readonly from: readonly string[];
}

/** The origin of what tokenizer_config.json or special_tokens_map.json names. */
export const TOKENIZER = 'tokenizer';

/** Ids of each origin as one list: an id stands once, with all of its origins. Negative ids and null are none. */
export function unionOfEndings(
  named: readonly (readonly [from: string, ids: readonly (number | null | undefined)[]])[],
): readonly Ending[] {
  const found = new Map<number, string[]>();
  for (const [from, ids] of named) {
    for (const id of new Set(ids)) {
      if (id != null && id >= 0) found.set(id, [...(found.get(id) ?? []), from]);
    }
  }
  return [...found].map(([id, from]) => ({ id, from }));
}

/**
 * What ends an answer: the ids that the configs name, and the tokenizer's own `eos_token`. A model tuned to talk may
 * have its end of turn in the tokenizer alone, and would write on into the next turn.
 *
 * @param endings what the configs name
 * @param tokenizer its end-of-text id; null where it has none, or is not there
 */
export function allEndings(
  { endings }: { readonly endings: readonly Ending[] },
  tokenizer: { readonly eosTokenId: number | null } | null,
): readonly Ending[] {
  return unionOfEndings([
    ...endings.flatMap(({ id, from }) => from.map((name) => [name, [id]] as const)),
    [TOKENIZER, [tokenizer?.eosTokenId]],
  ]);
}
