import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Query } from '../decode/generate.js';
import { SdaError } from '../errors.js';
import type { StepRule } from '../method/rule.js';
import { type Rule, resolveSettingsOf, type StreamSource } from '../rules/define.js';
import { sda } from '../rules/sda.js';
import { INSTRUCTIONS } from '../text/instructions.js';
import { buildPrompt } from '../text/prompts.js';
import { strftime } from '../text/strftime.js';
import type { Tokenizer } from '../text/tokenizer.js';
import type { TextModel } from './answering.js';
import type { GenerateRequest, GenerateSummary } from './types.js';

const DEFAULT_MAX_TOKENS = 256;

/** A request as it is decoded. */
export interface Prepared {
  readonly query: Query<object>;
  /** What a chat template made the prompts with, beside the texts. */
  readonly template: Pick<GenerateSummary['settings'], 'date' | 'templateVariables'>;
}

type Request = GenerateRequest<Rule>;

/** The models of streams that a rule has run by others, by the rule's names for them. */
interface ByName<M> {
  readonly models?: Readonly<Record<string, M>> | undefined;
}

/** The rule of a request; a bare step is one for the streams of SDA. */
export function ruleOf({ rule = sda }: Request): Rule {
  if (typeof rule !== 'function') return rule;
  return { ...sda, step: rule as StepRule<object>, asBlend: undefined };
}

/**
 * The model that runs a stream.
 *
 * @throws SdaError `bad-input` where the rule asks for another model than the one asked, and none is given
 */
export function modelOf<M extends TextModel>(
  model: M,
  [stream, { model: name }]: readonly [string, StreamSource],
  { models = {} }: ByName<M>,
): M {
  if (name === undefined) return model;
  return models[name] ?? notGiven(stream, name);
}

/** @throws SdaError `bad-input` */
export function refuseEmpty(requests: readonly unknown[]): void {
  if (requests.length > 0) return;
  throw new SdaError('bad-input', 'There is no request in the batch: give at least one.');
}

/** The models that run the streams of a rule, in their order: of all, or of the first ones. */
export function modelsOf<M extends TextModel>(
  model: M,
  rule: Rule,
  options: ByName<M>,
  streams?: number,
): M[] {
  return Object.entries(rule.streams)
    .slice(0, streams)
    .map((stream) => modelOf(model, stream, options));
}

function notGiven(stream: string, name: string): never {
  throw new SdaError(
    'bad-input',
    `The stream ${stream} is run by the model "${name}", which is not given: give it with models, or --with ${name}=DIR.`,
  );
}

/**
 * That models are given under the names that a rule has for those of its streams, and under no others.
 *
 * @throws SdaError `bad-input`
 */
export function checkModelNames(rule: Rule, names: readonly string[]): void {
  const sources = Object.entries<StreamSource>(rule.streams);
  for (const [stream, { model }] of sources) {
    if (model !== undefined && !names.includes(model)) notGiven(stream, model);
  }
  const known = [...new Set(sources.flatMap(([, { model }]) => model ?? []))];
  const unused = names.find((name) => !known.includes(name));
  if (unused === undefined) return;
  throw new SdaError(
    'bad-input',
    `No stream of the rule ${rule.name} is run by a model "${unused}": ${known.length > 0 ? `the models that it asks for are ${known.join(', ')}` : 'all are run by the model that is asked'}.`,
  );
}

/** Settings with their defaults, and the prompts of all streams. */
export async function prepare(
  model: TextModel,
  request: Request,
  options: ByName<TextModel>,
): Promise<Prepared> {
  const { seed = 0, maxTokens = DEFAULT_MAX_TOKENS } = request;
  if (!Number.isSafeInteger(seed)) {
    throw new SdaError('bad-input', `seed must be a whole number, but is ${seed}.`);
  }
  if (!Number.isInteger(maxTokens) || maxTokens < 1) {
    throw new SdaError(
      'bad-input',
      `maxTokens must be a whole number of at least 1, but is ${maxTokens}.`,
    );
  }
  const rule = ruleOf(request);
  const settings = resolveSettingsOf(rule, request.settings) as object;
  checkStreamNames(rule, request);
  const { date = new Date() } = request;
  const streams: (readonly number[])[] = [];
  let dated = false;
  for (const stream of Object.entries(rule.streams).slice(
    0,
    request.singleStream ? 1 : undefined,
  )) {
    const runs = modelOf(model, stream, options);
    const given = idsOf(request, stream[0]);
    streams.push(given ?? (await promptOf(runs, request, stream, date)));
    dated ||= !given && (await runs.chatTemplate())?.dated === true;
  }
  const asText = streams.some((_, index) => !idsOf(request, Object.keys(rule.streams)[index]!));
  return {
    query: { streams, settings, seed, maxTokens },
    template: asText ? templateSettings(request, dated, date) : {},
  };
}

/** The settings that say how to get the same prompts again. */
export function templateSettings(
  { templateVariables }: Pick<Request, 'templateVariables'>,
  dated: boolean,
  date: Date,
): Prepared['template'] {
  return {
    ...(dated && { date: strftime(date, '%Y-%m-%d') }),
    ...(templateVariables && { templateVariables }),
  };
}

function idsOf({ prompts, streams }: Request, stream: string): readonly number[] | undefined {
  const own = streams?.[stream]?.ids;
  if (own || !prompts) return own;
  return stream === 'base' ? prompts.baseIds : prompts.instructedIds;
}

function checkStreamNames(rule: Rule, { prompts, streams = {} }: Request): void {
  const names = Object.keys(rule.streams);
  const unknown = Object.keys(streams).find((name) => !names.includes(name));
  if (unknown !== undefined) {
    throw new SdaError(
      'bad-input',
      `The rule ${rule.name} has no stream "${unknown}": its streams are ${names.join(', ')}.`,
    );
  }
  if (prompts && names.some((name) => !(name in sda.streams))) {
    throw new SdaError(
      'bad-input',
      `prompts has the base and the instructed prompt of SDA, but the streams of the rule ${rule.name} are ${names.join(', ')}: give their ids with streams.`,
    );
  }
}

/**
 * Q, what was said before it, and the system line.
 *
 * @throws SdaError `bad-input` where the messages are no conversation that the user ends
 */
export function conversationOf({
  query,
  messages,
  system,
}: Pick<Request, 'query' | 'messages' | 'system'>) {
  if (!messages) return { query, system, history: [] };
  const refuse = (what: string) => new SdaError('bad-input', `The messages ${what}.`);
  const told = messages[0]?.role === 'system' ? messages[0].content : undefined;
  const turns = told === undefined ? messages : messages.slice(1);
  const last = turns.at(-1);
  if (query !== undefined) throw refuse('are given beside a query: give one of the two');
  if (told !== undefined && system !== undefined) {
    throw refuse(
      'begin with a system line, and there is another one beside them: give one of the two',
    );
  }
  if (last?.role !== 'user') {
    throw refuse(
      `must end with what the user asks, but ${last ? `the last one has the role ${last.role}` : 'hold no turn'}`,
    );
  }
  if (turns.some(({ role }) => role === 'system')) {
    throw refuse('have a system line behind their first turn: put all of it first');
  }
  return { query: last.content, system: told ?? system, history: turns.slice(0, -1) };
}

async function promptOf(
  model: TextModel,
  request: Request,
  [stream, source]: readonly [string, StreamSource],
  date: Date,
): Promise<number[]> {
  const own = request.streams?.[stream] ?? {};
  const asked = conversationOf(request);
  const query = own.query ?? asked.query;
  if (query === undefined) {
    throw new SdaError(
      'bad-input',
      'There is nothing to answer: give a query, or both prompts as token ids.',
    );
  }
  if (request.instruction !== undefined && request.core !== undefined) {
    throw new SdaError('bad-input', 'Give an instruction or a core, not both.');
  }
  const added = {
    instruction: () => request.instruction ?? INSTRUCTIONS[request.core ?? 'helpfulness'],
    negative: () => request.negative ?? null,
    nothing: () => null,
  }[source.adds ?? 'nothing'];
  return buildPrompt({
    tokenizer: await model.tokenizer(),
    template: await model.chatTemplate(),
    query,
    instruction: own.instruction === undefined ? added() : own.instruction,
    placement: request.placement ?? 'after-query',
    history: asked.history,
    system: own.system ?? asked.system,
    foldSystem: request.foldSystem,
    date,
    templateVariables: request.templateVariables,
  }).ids;
}

/** The tokenizer; null where all prompts are ids and the folder has no tokenizer.json. */
export async function tokenizerFor(
  model: WithTokens,
  requests: readonly Request[],
): Promise<Tokenizer | null> {
  try {
    return await model.tokenizer();
  } catch (error) {
    const missing = error instanceof SdaError && !existsSync(join(model.dir, 'tokenizer.json'));
    const needed = requests.some(
      (request) =>
        (request.stop?.length ?? 0) > 0 ||
        Object.keys(ruleOf(request).streams).some((stream) => !idsOf(request, stream)),
    );
    if (missing && !needed) return null;
    throw error;
  }
}

type WithTokens = Pick<TextModel, 'dir' | 'tokenizer'>;

/**
 * That the models of a batch have the same tokens, id by id; ids that only one of them has count for nothing.
 *
 * @throws SdaError `unsupported` naming the first difference
 */
export async function checkVocabularies(
  model: WithTokens,
  others: Iterable<WithTokens>,
): Promise<void> {
  for (const other of others) {
    if (other.dir === model.dir) continue;
    const [ours, theirs] = [await model.tokenizer(), await other.tokenizer()];
    const size = Math.min(ours.size, theirs.size);
    for (let id = 0; id < size; id++) {
      if (!ours.hasToken(id) || !theirs.hasToken(id)) continue;
      const [mine, its] = [ours.tokenText(id), theirs.tokenText(id)];
      if (mine === its) continue;
      throw new SdaError(
        'unsupported',
        `The token ${id} is ${JSON.stringify(mine)} in ${model.dir} and ${JSON.stringify(its)} in ${other.dir}: models of one rule must share their tokens; take models of one family.`,
      );
    }
  }
}
