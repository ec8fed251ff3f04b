import type { TokenLogProb } from '../decode/given-tokens.js';
import type { WithTop } from '../generate/top-tokens.js';
import type { StepOf } from '../generate/types.js';
import type { Rule } from '../rules/define.js';
import type { Tokenizer } from '../text/tokenizer.js';

/** What stands for -Infinity, which JSON does not have; OpenAI's servers write the same. */
const IMPOSSIBLE = -9999;

/** How likely a token was, and what else might have stood there. */
export interface TokenProbs {
  readonly id: number;
  readonly logp: number;
  readonly top: readonly TokenLogProb[];
}

/** Of plain decoding by the model at temperature 1; of a rule under what it drew from. */
export function probsOf(step: StepOf<Rule>, isPlain: boolean): TokenProbs {
  const {
    id,
    logp,
    logpBase,
    top = [],
  } = step as unknown as {
    id: number;
    logp: number;
    logpBase?: number;
  } & Partial<WithTop>;
  return { id, logp: isPlain ? (logpBase ?? logp) : logp, top };
}

/** Whether a token is shown: special ones are not, but the tags around a model's thinking. */
export function hasText(id: number, tokenizer: Tokenizer): boolean {
  if (!tokenizer.specialTokenIds.has(id)) return true;
  return tokenizer.decode([id], { skipSpecialTokens: true }) !== '';
}

function finite(logp: number): number {
  return Math.max(logp, IMPOSSIBLE);
}

/** A token as chat completions tell it. */
export function chatLogProbs({ id, logp, top }: TokenProbs, tokenizer: Tokenizer) {
  const told = (token: TokenLogProb) => {
    const text = tokenizer.decode([token.id]);
    const bytes = text.includes('\ufffd') ? null : [...Buffer.from(text)];
    return { token: text, logprob: finite(token.logp), bytes };
  };
  return { ...told({ id, logp }), top_logprobs: top.map(told) };
}

/** The log-probabilities of a text as completions tell them. */
export interface CompletionLogProbs {
  readonly tokens: string[];
  readonly token_logprobs: (number | null)[];
  readonly top_logprobs: (Record<string, number> | null)[] | null;
  readonly text_offset: number[];
}

/** Tokens of which the first of a prompt has no log-probability. */
export type MaybeProbs = Omit<TokenProbs, 'logp'> & {
  readonly logp: number | null;
  /** It adds nothing to the text */
  readonly silent?: boolean;
};

/**
 * @param offset characters before the first of these tokens
 */
export function completionLogProbs(
  tokens: readonly MaybeProbs[],
  tokenizer: Tokenizer,
  { offset, top }: { readonly offset: number; readonly top: number },
): CompletionLogProbs {
  const texts = tokens.map(({ id }) => tokenizer.decode([id]));
  let at = offset;
  return {
    tokens: texts,
    token_logprobs: tokens.map(({ logp }) => (logp === null ? null : finite(logp))),
    top_logprobs: top === 0 ? null : tokens.map((token) => likeliest(token, tokenizer)),
    text_offset: texts.map((text, index) => {
      const begin = at;
      if (!tokens[index]!.silent) at += text.length;
      return begin;
    }),
  };
}

/** The likeliest tokens by their texts, the token itself among them. */
function likeliest({ id, logp, top }: MaybeProbs, tokenizer: Tokenizer) {
  if (logp === null) return null;
  const found: Record<string, number> = {};
  for (const each of [...top, { id, logp }]) {
    found[tokenizer.decode([each.id])] ??= finite(each.logp);
  }
  return found;
}
