import { SdaError } from '../errors.js';
import type { Query } from './running.js';
import { checkStreams, SDA_STREAMS } from './streams.js';

/** What a batch is checked against. */
export interface BatchLimits {
  readonly vocabSize: number;
  readonly maxContext: number;
  /** Default: as many as there are queries */
  readonly maxBatch?: number | undefined;
  /** Names of the streams; default: those of SDA, or of plain decoding */
  readonly streams?: readonly string[] | undefined;
}

/** The shape of a batch. */
export interface BatchShape {
  /** Streams of each query, 1 to `MOST_STREAMS` */
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
export function checkBatch(queries: readonly Query<unknown>[], limits: BatchLimits): BatchShape {
  const { vocabSize, maxContext, maxBatch = queries.length, streams: names } = limits;
  if (queries.length === 0) {
    throw new SdaError('bad-input', 'There is no query to decode: give at least one.');
  }
  checkCount('maxContext', maxContext, 2);
  checkCount('maxBatch', maxBatch, 1);
  queries.forEach((query, index) => {
    checkShape(query, index, names);
    checkNumbers(query, index);
    checkStreams(query.streams, vocabSize, maxContext, names);
  });
  const streams = queries[0]!.streams.length;
  if (queries.some((query) => query.streams.length !== streams)) {
    throw new SdaError(
      'bad-input',
      'A batch must have one prompt for every query or two for every query, not a mixture.',
    );
  }
  const lengths = queries.map((query) => Math.max(...query.streams.map((ids) => ids.length)));
  const ends = queries.map(({ maxTokens }, index) => lengths[index]! + maxTokens);
  return {
    streams,
    places: Math.min(maxBatch, queries.length),
    room: Math.min(Math.max(...ends), maxContext),
    longest: Math.max(...lengths),
  };
}

/** That there is a prompt for each stream, and each is a list. */
function checkShape(
  { streams }: Query<unknown>,
  index: number,
  names: readonly string[] | undefined,
): void {
  const prompts: readonly unknown[] = streams;
  const few = prompts.length < 1 || prompts.length > SDA_STREAMS.length;
  if (names ? prompts.length !== names.length : few) {
    throw new SdaError(
      'bad-input',
      names
        ? `Query ${index} must have ${names.length} prompts (${names.join(', ')}), but has ${prompts.length}.`
        : `Query ${index} must have one or two prompts, but has ${prompts.length}: give the base prompt and the instructed one, or the base prompt alone to decode plainly.`,
    );
  }
  const missing = prompts.findIndex((ids) => !Array.isArray(ids) && !ArrayBuffer.isView(ids));
  if (missing < 0) return;
  const name = (names ?? SDA_STREAMS)[missing];
  const advice =
    missing === 0 || names
      ? 'give its ids'
      : 'give its ids, or leave it out to decode the base prompt alone';
  throw new SdaError(
    'bad-input',
    `The ${name} prompt of query ${index} must be a list of token ids, but is ${prompts[missing]}: ${advice}.`,
  );
}

function checkNumbers({ settings, seed, maxTokens }: Query<unknown>, index: number): void {
  const of = ` of query ${index}`;
  checkCount(`maxTokens${of}`, maxTokens, 1);
  if (!Number.isSafeInteger(seed)) {
    throw new SdaError('bad-input', `seed${of} must be a whole number, but is ${seed}.`);
  }
  if (typeof settings !== 'object' || settings === null) {
    throw new SdaError('bad-input', `settings${of} must be an object, but is ${settings}.`);
  }
}

function checkCount(name: string, count: number, least: number): void {
  if (Number.isInteger(count) && count >= least) return;
  throw new SdaError(
    'bad-input',
    `${name} must be a whole number of at least ${least}, but is ${count}.`,
  );
}
