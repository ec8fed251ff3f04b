import { SdaError } from '../../errors.js';
import type { AddedTokenConfig } from '../../text/tokenizer-config.js';
import type { TokenizerClass } from './classes.js';
import type { TokenizerSettings } from './settings.js';

/** The added tokens of a tokenizer, and the token of each role. */
export interface AddedTokens {
  readonly tokens: readonly AddedTokenConfig[];
  readonly roles: Readonly<Record<string, string>>;
}

/** A token of the vocabulary that is an added one as well. */
export interface OwnAddedToken {
  readonly id: number;
  readonly content: string;
}

/**
 * The tokens that are cut out of a text, by the rules of transformers: those of the class, of the vocabulary
 * itself, of tokenizer_config.json or else added_tokens.json, and every special token; one that has no id yet follows
 * the vocabulary. They are found in the text as it is, as the tokenizers written in Python do.
 * @throws SdaError `bad-tokenizer` where two of them contradict each other
 */
export function addedTokensOf(
  settings: TokenizerSettings,
  kind: TokenizerClass,
  vocabulary: ReadonlyMap<string, number>,
  own: readonly OwnAddedToken[],
): AddedTokens {
  const defaults = Object.entries(kind.roles).filter(([role]) => settings.raw[role] !== null);
  const roles: Record<string, string> = {
    ...Object.fromEntries(defaults),
    ...settings.config.roles,
  };
  const special = new Set([
    ...Object.values(roles),
    ...settings.config.extraSpecialTokens,
    ...settings.moreSpecialTokens,
  ]);
  const added = new Added(vocabulary, settings.dir);
  const count = settings.raw.extra_ids ?? kind.extraIds;
  for (let i = 0; kind.extraIds > 0 && i < count; i++) {
    const id = vocabulary.size + count - 1 - i;
    added.add(token(id, `<extra_id_${i}>`, { special: true, lstrip: true, rstrip: true }));
  }
  for (const { id, content } of own) added.add(token(id, content, { special: true }));
  const listed = settings.config.addedTokens;
  for (const one of listed) added.add({ ...one, normalized: false });
  for (const [content, id] of listed.length > 0 ? [] : Object.entries(settings.addedTokens)) {
    added.add(token(id, content, { special: special.has(content) }));
  }
  for (const content of special) added.makeSpecial(content);
  return { tokens: added.list(), roles };
}

function token(
  id: number,
  content: string,
  flags: Partial<Pick<AddedTokenConfig, 'special' | 'lstrip' | 'rstrip'>>,
): AddedTokenConfig {
  const plain = { special: false, lstrip: false, rstrip: false };
  return { id, content, ...plain, ...flags, normalized: false, single_word: false };
}

class Added {
  private readonly byContent = new Map<string, AddedTokenConfig>();
  private readonly byId = new Map<number, string>();

  constructor(
    private readonly vocabulary: ReadonlyMap<string, number>,
    private readonly dir: string,
  ) {}

  /** A later token takes the place of an earlier one with the same id, which it renames. */
  add(one: AddedTokenConfig): void {
    const { id, content } = one;
    const known = this.byContent.get(content)?.id ?? this.vocabulary.get(content);
    if (known !== undefined && known !== id) {
      throw new SdaError(
        'bad-tokenizer',
        `${this.dir} has the token ${JSON.stringify(content)} with the ids ${known} and ${id}; take all tokenizer files from the same revision.`,
      );
    }
    const earlier = this.byId.get(id);
    if (earlier !== undefined) this.byContent.delete(earlier);
    this.byId.set(id, content);
    this.byContent.set(content, one);
  }

  makeSpecial(content: string): void {
    const known = this.byContent.get(content);
    const id = known?.id ?? this.vocabulary.get(content) ?? this.next();
    this.add({ ...(known ?? token(id, content, {})), special: true });
  }

  /** The id after all others. */
  private next(): number {
    const added = [...this.byId.keys()].reduce((most, id) => Math.max(most, id + 1), 0);
    return [...this.vocabulary.values()].reduce((most, id) => Math.max(most, id + 1), added);
  }

  list(): readonly AddedTokenConfig[] {
    return [...this.byContent.values()].sort((a, b) => a.id - b.id);
  }
}
