import { messageOf, SdaError } from '../errors.js';
import type { ModelConfig } from '../model/config.js';
import { allEndings, type Ending, TOKENIZER } from '../model/endings.js';
import type { Tokenizer } from '../text/tokenizer.js';

/** What `sda inspect` finds of a folder's tokenizer and chat template. */
export interface TextReport {
  readonly tokenizer: { readonly tokens: number; readonly paddedRows: number } | null;
  readonly template: {
    readonly origin: string;
    readonly takesSystem: boolean;
    readonly addsBos: boolean;
    readonly opensThinking: boolean;
  } | null;
  /** Tokens that end an answer, and their texts */
  readonly endings: readonly (Ending & { readonly token: string | null })[];
  readonly warnings: readonly string[];
  readonly problems: readonly string[];
}

/** Loads tokenizer and template and tries them on a question; every failure is a problem of the list. */
export async function inspectText(dir: string, config: ModelConfig | null): Promise<TextReport> {
  const warnings: string[] = [];
  const problems: string[] = [];
  const tokenizer = await loaded(
    async () => (await import('../text/tokenizer.js')).loadTokenizer(dir),
    (error) => {
      if (error.code === 'file-missing') {
        warnings.push(`${dir} has no tokenizer.json: it can be run on ids alone.`);
      } else problems.push(error.message);
    },
  );
  const template = await loaded(
    async () => (await import('../text/chat-template.js')).loadChatTemplate(dir),
    (error) => problems.push(error.message),
  );
  if (tokenizer && !template && problems.length === 0) {
    warnings.push(`${dir} has no chat template: give one with --chat-template to ask questions.`);
  }
  if (template) warnings.push(...template.warnings);
  const endings = config ? allEndings(config, tokenizer) : [];
  if (tokenizer && config) warnings.push(...endingWarnings(dir, endings, tokenizer));
  if (tokenizer && config && tokenizer.size > config.vocabSize) {
    warnings.push(
      `tokenizer.json in ${dir} has ids up to ${tokenizer.size - 1} where vocab_size ${config.vocabSize} is the end; a prompt with one of the others is refused.`,
    );
  }
  const { opensThinking } = await import('../text/reasoning.js');
  const question = { role: 'user', content: 'Hello' } as const;
  const rendered = template && attempt(() => template.render([question]));
  const addsBos =
    tokenizer && typeof rendered === 'string' && attempt(() => startsWithBos(tokenizer, rendered));
  for (const result of [rendered, addsBos]) {
    if (result instanceof SdaError) problems.push(result.message);
  }
  return {
    tokenizer: tokenizer && {
      tokens: tokenizer.size,
      paddedRows: config
        ? paddedRows(config.vocabSize, tokenizer.size, (id) => tokenizer.hasToken(id))
        : 0,
    },
    template: template && {
      origin: template.origin,
      takesSystem:
        typeof attempt(() => template.render([{ role: 'system', content: 'S' }, question])) ===
        'string',
      addsBos: addsBos === true,
      opensThinking: typeof rendered === 'string' && opensThinking(rendered),
    },
    endings: endings.map((each) => {
      const token = tokenizer?.hasToken(each.id) ? tokenizer.tokenText(each.id) : null;
      return { ...each, token };
    }),
    warnings,
    problems,
  };
}

function endingWarnings(dir: string, endings: readonly Ending[], tokenizer: Tokenizer): string[] {
  if (endings.length === 0) {
    return [`${dir} names no end-of-text id: answers end at --max-tokens or a --stop text.`];
  }
  const lost = endings.filter(({ id }) => !tokenizer.hasToken(id)).map(({ id }) => id);
  const [own] = endings.filter(({ from }) => from.join() === TOKENIZER);
  return [
    ...(lost.length > 0
      ? [`The end-of-text ids ${lost.join(', ')} of ${dir} have no token in tokenizer.json.`]
      : []),
    ...(own && endings.length > 1
      ? [
          `Answers end at ${tokenizer.tokenText(own.id)} (${own.id}) as well, which only the tokenizer of ${dir} names.`,
        ]
      : []),
  ];
}

function startsWithBos(tokenizer: Tokenizer, prompt: string): boolean {
  const [first] = tokenizer.encodeSegments([{ text: prompt, literal: false }]);
  return tokenizer.bosTokenId !== null && first === tokenizer.bosTokenId;
}

function paddedRows(vocabSize: number, size: number, hasToken: (id: number) => boolean): number {
  const named = Math.min(size, vocabSize);
  let rows = vocabSize - named;
  for (let id = 0; id < named; id++) if (!hasToken(id)) rows++;
  return rows;
}

/** What `body` gives; null, after telling `failed`, where it throws an SdaError. */
export async function loaded<T>(
  body: () => Promise<T> | T,
  failed: (error: SdaError) => void,
): Promise<T | null> {
  try {
    return await body();
  } catch (error) {
    if (!(error instanceof SdaError)) throw error;
    failed(error);
    return null;
  }
}

function attempt<T>(body: () => T): T | SdaError {
  try {
    return body();
  } catch (error) {
    return error instanceof SdaError ? error : new SdaError('bad-template', messageOf(error));
  }
}
