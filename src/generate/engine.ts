import { EngineLoop } from '../decode/engine-loop.js';
import type { DecodeEvent } from '../decode/event.js';
import type { GivenLogProbs } from '../decode/given-tokens.js';
import { Pace } from '../decode/pace.js';
import type { Decoding } from '../decode/running.js';
import { checkStreams } from '../decode/streams.js';
import { SdaError } from '../errors.js';
import type { Choice } from '../method/rule.js';
import { allEndings } from '../model/endings.js';
import type { Rule } from '../rules/define.js';
import { sda } from '../rules/sda.js';
import { Answer } from './answer.js';
import { type BeamAnswer, type BeamRequest, beamAnswer, checkPenalty } from './beams.js';
import { bestOf, type RankedAnswer } from './best-of.js';
import { checkVocabularies, modelsOf, prepare, ruleOf, tokenizerFor } from './request.js';
import type { SdaModel } from './sda-model.js';
import type { GenerateRequest, GenerateSummary, SdaRule, StepOf } from './types.js';

export interface OpenEngineOptions {
  /** Answers decoded at once; default 8 */
  readonly places?: number | undefined;
  /** Positions a stream may hold; default: 2,048, or less where the model or the memory holds less */
  readonly context?: number | undefined;
  /** Answers that may wait for a place; default 64 */
  readonly maxWaiting?: number | undefined;
  /** The models of streams that rules have run by others, by the rules' names for them, such as `amateur` */
  readonly models?: Readonly<Record<string, SdaModel>> | undefined;
}

/** Rows of the cache for each place: the two streams of SDA. A query with more streams takes those of several places. */
const STREAMS = 2;
const DEFAULTS = { places: 8, context: 2048, maxWaiting: 64 };
/** The least context that is tried where memory is short */
const LEAST_CONTEXT = 512;

/**
 * An engine over a loaded model: answers that come and go, each with its own rule, settings and end. It keeps the memory of
 * its cache until it is closed, and the beginnings of prompts in it for later ones.
 *
 * @throws SdaError `bad-input`; `unsupported` where the models' tokens differ; `out-of-memory` with the numbers
 */
export async function openEngine(
  model: SdaModel,
  options: OpenEngineOptions = {},
): Promise<SdaEngine> {
  const { models = {} } = options;
  const others = Object.values(models);
  await checkVocabularies(model, others);
  const tokenizer = await tokenizerFor(model, []);
  const { places = DEFAULTS.places, maxWaiting = DEFAULTS.maxWaiting } = options;
  checkWhole('places', places, 1);
  checkWhole('maxWaiting', maxWaiting, 0);
  const all = [...new Set([model, ...others])];
  const context = contextFor(all, places, options.context);
  const room = { rows: STREAMS * places, capacity: context, most: context };
  const bias = tokenizer ? model.logitBias(tokenizer) : undefined;
  const loop = new EngineLoop({
    models: new Map(
      all.map((each) => [each.decoder, { ...room, logitBias: each === model ? bias : undefined }]),
    ),
    places,
    maxWaiting,
    pace: new Pace(),
  });
  return new SdaEngine(model, loop, { models, places, context });
}

/** The context that is asked for, or the longest that fits. */
function contextFor(models: readonly SdaModel[], places: number, asked?: number): number {
  const most = Math.min(...models.map(({ maxContext }) => maxContext));
  const check = (room: number) => {
    for (const model of models) {
      model.checkMemory({ streams: STREAMS, places, room, longest: room });
    }
  };
  if (asked !== undefined) {
    checkWhole('context', asked, 2, most);
    check(asked);
    return asked;
  }
  for (let context = Math.min(most, DEFAULTS.context); ; context = Math.floor(context / 2)) {
    try {
      check(context);
      return context;
    } catch (error) {
      if (context <= LEAST_CONTEXT) throw error;
    }
  }
}

function checkWhole(name: string, value: number, least: number, most = Infinity): void {
  if (Number.isInteger(value) && value >= least && value <= most) return;
  const range = most === Infinity ? `of at least ${least}` : `in ${least}..${most}`;
  throw new SdaError('bad-input', `${name} must be a whole number ${range}, but is ${value}.`);
}

/** See `openEngine`. */
export class SdaEngine {
  /** Positions a stream may hold */
  readonly context: number;
  private readonly places: number;
  private readonly models: Readonly<Record<string, SdaModel>>;

  constructor(
    readonly model: SdaModel,
    private readonly loop: EngineLoop,
    options: Required<Pick<OpenEngineOptions, 'places' | 'context' | 'models'>>,
  ) {
    this.context = options.context!;
    this.places = options.places!;
    this.models = options.models!;
  }

  /** Answers that wait, and those that run. */
  get load(): EngineLoop['load'] {
    return this.loop.load;
  }

  /**
   * Decodes one answer, beside whatever else runs: its text is what `SdaModel.generate` gives, to the bit on the CPU.
   *
   * @throws SdaError as `SdaModel.generate`; `busy` where too many wait
   */
  async *generate<R extends Rule = SdaRule>(
    request: GenerateRequest<R>,
  ): AsyncGenerator<StepOf<R>, GenerateSummary<R>> {
    const [answer] = await this.answers(request, [request.seed ?? 0]);
    return yield* answer!;
  }

  /**
   * Several answers of one request, which share the run of its prompts.
   *
   * @param seeds of each
   * @returns one after the other, all of them under way; see `generate`
   */
  async answers<R extends Rule = SdaRule>(
    request: GenerateRequest<R>,
    seeds: readonly number[],
  ): Promise<AsyncGenerator<StepOf<R>, GenerateSummary<R>>[]> {
    this.loop.admit(seeds.length);
    const prepared = await prepare(this.model, request, { models: this.models });
    const tokenizer = await tokenizerFor(this.model, [request]);
    const rule = ruleOf(request);
    const runs = modelsOf(this.model, rule, { models: this.models }, prepared.query.streams.length);
    const maxContext = Math.min(this.context, ...runs.map((each) => each.maxContext));
    this.check(rule, prepared.query.streams, runs, maxContext);
    this.loop.admit(seeds.length);
    return seeds.map((seed) => {
      const query = { ...prepared.query, seed };
      const answer = new Answer({
        ...prepared,
        query,
        model: this.model,
        rule,
        request,
        tokenizer,
      });
      const decoding: Decoding<object, Choice> = {
        rule: rule.step,
        models: runs.map(({ decoder }) => decoder),
        names: rule.name === sda.name ? undefined : Object.keys(rule.streams),
        stopIds: new Set(),
        maxContext,
        finished: (_, choice) => answer.endsWith(choice),
      };
      return shown<R>(answer, this.loop.decode(query, decoding, request.signal));
    });
  }

  /**
   * The best of several answers, which share the run of their prompts.
   *
   * @param seeds of each
   * @param keep how many are returned, see `bestOf`
   * @throws SdaError as `generate`; `bad-input` where fewer are made than kept
   */
  async best<R extends Rule = SdaRule>(
    request: GenerateRequest<R>,
    seeds: readonly number[],
    keep = 1,
  ): Promise<RankedAnswer<R>[]> {
    const given = new AbortController();
    const { signal: left } = request;
    const signal = left ? AbortSignal.any([left, given.signal]) : given.signal;
    try {
      return await bestOf(await this.answers({ ...request, signal }, seeds), keep);
    } finally {
      given.abort(); // where one has failed, the others are of no use
    }
  }

  /**
   * The likeliest texts that beam search finds after a query, by the base model alone; each beam takes a place.
   *
   * @returns the best first; fewer than `beams` where there are not as many
   * @throws SdaError as `generate`; `bad-input` for more beams than places; `aborted` by the signal
   */
  async beams(request: BeamRequest): Promise<BeamAnswer[]> {
    const { beams, lengthPenalty = 1, ignoreEos = false, ...more } = request;
    checkPenalty(lengthPenalty);
    const asked = { ...more, singleStream: true };
    const { query } = await prepare(this.model, asked, {});
    const tokenizer = await tokenizerFor(this.model, [asked]);
    this.check(ruleOf(asked), query.streams, [this.model], this.context);
    const endings = ignoreEos ? [] : allEndings(this.model.config, tokenizer);
    const options = {
      beams,
      lengthPenalty,
      maxTokens: query.maxTokens,
      endIds: new Set(endings.map(({ id }) => id)),
      models: [this.model.decoder],
      maxContext: this.context,
    };
    const found = await this.loop.beams(query.streams[0]!, options, request.signal);
    return found.map((text) => beamAnswer(text, tokenizer));
  }

  /**
   * How likely given tokens are, each after those before it, by the model itself.
   *
   * @param ids at least one, at most `context`
   * @param options `top` likeliest tokens are told beside each; default 0
   * @throws SdaError `bad-input`, `context-exceeded`, `busy`, `bad-logits`; `aborted` by the signal
   */
  async given(
    ids: readonly number[],
    { top = 0, signal }: { readonly top?: number; readonly signal?: AbortSignal | undefined } = {},
  ): Promise<GivenLogProbs> {
    checkStreams([ids], this.model.config.vocabSize, this.context + 1, ['given']);
    return this.loop.given(ids, { models: [this.model.decoder], top, signal });
  }

  /** Takes nothing more, ends what runs and what waits, and frees the cache. */
  close(): Promise<void> {
    return this.loop.close();
  }

  private check(
    rule: Rule,
    streams: readonly (readonly number[])[],
    runs: readonly SdaModel[],
    maxContext: number,
  ): void {
    const rows = STREAMS * this.places;
    const vocabSize = Math.min(...runs.map(({ config }) => config.vocabSize));
    checkStreams(streams, vocabSize, maxContext, Object.keys(rule.streams));
    const needed = Math.max(...runs.map((run) => runs.filter((each) => each === run).length));
    if (needed <= rows) return;
    throw new SdaError(
      'bad-input',
      `The rule ${rule.name} has ${needed} streams, but the engine has room for ${rows}: give it more places.`,
    );
  }
}

async function* shown<R extends Rule>(
  answer: Answer,
  events: AsyncGenerator<DecodeEvent<Choice>>,
): AsyncGenerator<StepOf<R>, GenerateSummary<R>> {
  for await (const event of events) yield answer.take<R>(event);
  return answer.summary<R>();
}
