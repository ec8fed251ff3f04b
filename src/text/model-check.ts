import { z } from 'zod';
import { describeIssues } from '../checkpoint/json-file.js';
import { SdaError } from '../errors.js';
import { MAX_ID } from './limits.js';
import { withoutType } from './steps.js';

const unigramVocab = z.array(z.tuple([z.string(), z.number()]));

/**
 * Checks the "model" of a tokenizer.json.
 * @returns it, with the type that follows from its keys where it names none, as old files do
 * @throws SdaError `unsupported` for another type, or a setting that is not done; `bad-tokenizer` for a vocabulary that
 *   is none
 */
export function checkedModel(
  model: Readonly<Record<string, unknown>>,
  file: string,
): Readonly<Record<string, unknown>> {
  checkVocabulary(model.vocab, file);
  const type =
    model.type ?? (Array.isArray(model.vocab) ? 'Unigram' : 'merges' in model ? 'BPE' : null);
  if (type !== 'BPE' && type !== 'Unigram') {
    throw new SdaError(
      'unsupported',
      `${file} has a model of the type ${JSON.stringify(type)} where BPE and Unigram are supported; take a tokenizer.json with one of them.`,
    );
  }
  if (Array.isArray(model.vocab) !== (type === 'Unigram')) {
    throw new SdaError(
      'bad-tokenizer',
      `${file} has a ${type} model with the vocabulary of another type; download it again.`,
    );
  }
  const odd = ODD.find((key) => Boolean(model[key]));
  if (odd !== undefined) {
    throw new SdaError(
      'unsupported',
      `${file} has a model with ${odd} ${JSON.stringify(model[odd])}, which is not done; take a tokenizer.json without it.`,
    );
  }
  return { ...model, type };
}

/** Settings of a model that change its tokens and that the library does not know. */
const ODD = ['dropout', 'continuing_subword_prefix'];

/** @throws SdaError for an id that is none; ids are places in the model's logits. */
function checkVocabulary(vocab: unknown, file: string): void {
  if (typeof vocab !== 'object' || vocab === null || Array.isArray(vocab)) {
    if (unigramVocab.safeParse(vocab).success) return;
    throw new SdaError(
      'bad-tokenizer',
      `${file} has no usable vocabulary (model.vocab is no map from tokens to ids); download it again.`,
    );
  }
  for (const [token, id] of Object.entries(vocab)) {
    if (Number.isInteger(id) && id >= 0 && id <= MAX_ID) continue;
    throw new SdaError(
      'bad-tokenizer',
      `${file} gives the token ${JSON.stringify(token)} the id ${JSON.stringify(id)} where a whole number in 0..${MAX_ID} is expected; download it again.`,
    );
  }
}

const pair = z.tuple([z.string(), z.number()]);
const item = z.union([
  z.object({ SpecialToken: z.looseObject({ id: z.string() }) }),
  z.object({ Sequence: z.looseObject({ id: z.enum(['A', 'B']) }) }),
]);
const POST_PROCESSORS: Readonly<Record<string, z.ZodType>> = {
  ByteLevel: z.looseObject({}),
  BertProcessing: z.looseObject({ sep: pair, cls: pair }),
  RobertaProcessing: z.looseObject({ sep: pair, cls: pair }),
  TemplateProcessing: z.looseObject({
    single: z.array(item),
    special_tokens: z.record(
      z.string(),
      z.looseObject({ ids: z.array(z.number()), tokens: z.array(z.string()) }),
    ),
  }),
  Sequence: z.looseObject({ processors: z.array(z.unknown()) }),
};

/**
 * Checks a "post_processor", and writes the tokens of a template out, of which the library takes one for each name.
 * @throws SdaError `unsupported` for another kind; `bad-tokenizer` for a malformed one
 */
export function checkedPostProcessor(step: unknown, file: string): unknown {
  if (step === null || step === undefined) return null;
  const { type } = Object(step) as Record<string, unknown>;
  if (typeof type !== 'string') throw withoutType('post-processor', file);
  if (!Object.hasOwn(POST_PROCESSORS, type)) {
    throw new SdaError(
      'unsupported',
      `${file} has a post-processor of the type ${JSON.stringify(type)} where ${Object.keys(POST_PROCESSORS).join(', ')} are supported; take a tokenizer.json without it.`,
    );
  }
  const parsed = POST_PROCESSORS[type]!.safeParse(step);
  if (!parsed.success) throw malformed(file, `${type} (${describeIssues(parsed.error)})`);
  if (type === 'Sequence') {
    const { processors } = parsed.data as { processors: unknown[] };
    return { type, processors: processors.map((inner) => checkedPostProcessor(inner, file)) };
  }
  return type === 'TemplateProcessing' ? writtenOut(parsed.data as Template, file) : step;
}

interface Template {
  readonly single: readonly z.infer<typeof item>[];
  readonly special_tokens: Readonly<Record<string, { readonly tokens: readonly string[] }>>;
}

function writtenOut(template: Template, file: string): unknown {
  const single = template.single.flatMap((one): z.infer<typeof item>[] => {
    if (!('SpecialToken' in one)) return [one];
    const special = template.special_tokens[one.SpecialToken.id];
    if (!special) {
      throw malformed(file, `TemplateProcessing without ${JSON.stringify(one.SpecialToken.id)}`);
    }
    return special.tokens.map((id) => ({ SpecialToken: { ...one.SpecialToken, id } }));
  });
  return { ...template, single };
}

function malformed(file: string, what: string): SdaError {
  return new SdaError(
    'bad-tokenizer',
    `${file} has a malformed post-processor ${what}; download it again.`,
  );
}
