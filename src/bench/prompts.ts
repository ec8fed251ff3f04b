import { sharedPrefixLength } from '../decode/streams.js';
import { SdaError } from '../errors.js';
import type { SdaModel } from '../generate/sda-model.js';
import { INSTRUCTIONS } from '../text/instructions.js';
import { buildPrompts } from '../text/prompts.js';

/** A pair of prompts to decode from. */
export interface BenchPrompts {
  readonly baseIds: readonly number[];
  readonly instructedIds: readonly number[];
  /** Leading tokens that both share */
  readonly sharedTokens: number;
  /** Real text through the chat template, or arbitrary ids where the folder has no tokenizer or template. */
  readonly source: 'text' | 'ids';
}

const QUERY =
  'How do I comfort a good friend who failed an important exam at school and does not want to talk?';
/** As long as an instruction with several demands. */
const INSTRUCTION = [INSTRUCTIONS.empathy, INSTRUCTIONS.helpfulness, INSTRUCTIONS.truthful].join(
  ' ',
);
/** What templates that print the date see, so that the prompts are the same every day. */
const DATE = new Date(Date.UTC(2026, 0, 1));
const SYNTHETIC_LENGTH = 48;

/**
 * The prompts of the benchmark: a query with and without an instruction.
 *
 * @param length tokens of the instructed prompt, which is the longer; the query grows to it, in what both
 *   prompts share. Default: as the text comes.
 * @throws SdaError `usage` for a length that the text does not fit in.
 */
export async function benchPrompts(model: SdaModel, length?: number): Promise<BenchPrompts> {
  const text = await textPrompts(model);
  if (!text) return withSharedTokens(syntheticPrompts(model.config.vocabSize, length), 'ids');
  const filler = (length ?? text.instructedIds.length) - text.instructedIds.length;
  if (filler < 0) {
    throw new SdaError(
      'usage',
      `--prompt-tokens must be at least ${text.instructedIds.length} for this model's chat template and the benchmark's instruction, but is ${length}.`,
    );
  }
  const { baseIds, instructedIds, fillerIds } = text;
  const at = sharedPrefixLength([baseIds, instructedIds]);
  const more = Array.from({ length: filler }, (_, i) => fillerIds[i % fillerIds.length]!);
  const longer = (ids: readonly number[]) => [...ids.slice(0, at), ...more, ...ids.slice(at)];
  return withSharedTokens(
    { baseIds: longer(baseIds), instructedIds: longer(instructedIds) },
    'text',
  );
}

async function textPrompts(model: SdaModel) {
  try {
    const [tokenizer, template] = [await model.tokenizer(), await model.chatTemplate()];
    if (!template) return null;
    const prompts = buildPrompts({
      tokenizer,
      template,
      query: QUERY,
      instruction: INSTRUCTION,
      placement: 'after-query',
      date: DATE,
    });
    return { ...prompts, fillerIds: tokenizer.encode(` ${QUERY}`, { addSpecialTokens: false }) };
  } catch (error) {
    if (error instanceof SdaError && error.code === 'file-missing') return null;
    throw error;
  }
}

function syntheticPrompts(vocabSize: number, length = SYNTHETIC_LENGTH) {
  if (length < 2) {
    throw new SdaError('usage', `--prompt-tokens must be at least 2, but is ${length}.`);
  }
  const instructedIds = Array.from({ length }, (_, i) => (7 * i + 3) % vocabSize);
  return { baseIds: instructedIds.slice(0, Math.ceil(length / 2)), instructedIds };
}

function withSharedTokens(
  { baseIds, instructedIds }: Pick<BenchPrompts, 'baseIds' | 'instructedIds'>,
  source: BenchPrompts['source'],
): BenchPrompts {
  const sharedTokens = sharedPrefixLength([baseIds, instructedIds]);
  return { baseIds, instructedIds, sharedTokens, source };
}
