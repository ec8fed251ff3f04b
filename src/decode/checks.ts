import { SdaError } from '../errors.js';
import type { Query } from './running.js';
import { checkStreams } from './streams.js';

/** What a batch is checked against. */
export interface BatchLimits {
  readonly vocabSize: number;
  readonly maxContext: number;
  /** Default: as many as there are queries */
  readonly maxBatch?: number | undefined;
}

/** The shape of a batch. */
export interface BatchShape {
  /** Streams of each query: 1 or 2 */
  readonly streams: number;
  /** Queries that run at once */
  readonly places: number;
  /** Positions a stream may need: the longest prompt and its answer, or the context where that is less */
  readonly room: number;
  /** Tokens of the longest prompt */
  readonly longest: number;
}

/**
 * Checks all queries of a batch.
 *
 * @throws SdaError `bad-input` naming the query and the field at fault; `context-exceeded` (see `checkStreams`)
 */
export function checkBatch(queries: readonly Query[], limits: BatchLimits): BatchShape {
  const { vocabSize, maxContext, maxBatch = queries.length } = limits;
  if (queries.length === 0) {
    throw new SdaError('bad-input', 'There is no query to decode: give at least one.');
  }
  checkCount('maxContext', maxContext, 2);
  checkCount('maxBatch', maxBatch, 1);
  queries.forEach((query, index) => {
    checkShape(query, index);
    checkNumbers(query, index);
    checkStreams(query.streams, vocabSize, maxContext);
  });
  const streams = queries[0]!.streams.length;
  if (queries.some((query) => query.streams.length !== streams)) {
    throw new SdaError(
      'bad-input',
      'A batch must have one prompt for every query or two for every query, not a mixture.',
    );
  }
  const lengths = queries.map((query) => Math.max(...query.streams.map((ids) => ids!.length)));
  const ends = queries.map(({ maxTokens }, index) => lengths[index]! + maxTokens);
  return {
    streams,
    places: Math.min(maxBatch, queries.length),
    room: Math.min(Math.max(...ends), maxContext),
    longest: Math.max(...lengths),
  };
}

/** That there are one or two prompts, and each is a list. */
function checkShape({ streams }: Query, index: number): void {
  const prompts: readonly unknown[] = streams;
  if (prompts.length !== 1 && prompts.length !== 2) {
    throw new SdaError(
      'bad-input',
      `Query ${index} must have one or two prompts, but has ${prompts.length}: give the base prompt and the instructed one, or the base prompt alone to decode plainly.`,
    );
  }
  const missing = prompts.findIndex((ids) => !Array.isArray(ids) && !ArrayBuffer.isView(ids));
  if (missing < 0) return;
  const name = missing === 0 ? 'base' : 'instructed';
  const advice =
    missing === 0
      ? 'give its ids'
      : 'give its ids, or leave it out to decode the base prompt alone';
  throw new SdaError(
    'bad-input',
    `The ${name} prompt of query ${index} must be a list of token ids, but is ${prompts[missing]}: ${advice}.`,
  );
}

function checkNumbers({ amplification, seed, maxTokens }: Query, index: number): void {
  const of = ` of query ${index}`;
  checkCount(`maxTokens${of}`, maxTokens, 1);
  if (!Number.isSafeInteger(seed)) {
    throw new SdaError('bad-input', `seed${of} must be a whole number, but is ${seed}.`);
  }
  if (!Number.isFinite(amplification)) {
    throw new SdaError(
      'bad-input',
      `amplification${of} must be a finite number, but is ${amplification}.`,
    );
  }
}

function checkCount(name: string, count: number, least: number): void {
  if (Number.isInteger(count) && count >= least) return;
  throw new SdaError(
    'bad-input',
    `${name} must be a whole number of at least ${least}, but is ${count}.`,
  );
}
