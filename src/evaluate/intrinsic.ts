import type { Tensor1D, Tensor2D } from '@tensorflow/tfjs-core';
import { logSumExp } from '../decode/given-tokens.js';
import { prefill } from '../decode/prefill.js';
import { checkStreams } from '../decode/streams.js';
import { SdaError } from '../errors.js';
import type { SdaModel } from '../generate/sda-model.js';
import { forward } from '../model/decoder.js';
import { KvCache } from '../model/kv-cache.js';

/** Nats a token at which the score is 73 or 27. */
export const INTRINSIC_SCALE = 0.5;
/** The least score, as of the paper's evaluator: F stays away from its limit. */
export const LEAST_INTRINSIC = 1;
/** Log-probabilities below this count as this: one impossible token is not to outweigh a whole answer. */
const LOG_FLOOR = -30;
/** Answer tokens a forward takes; bounds the logits on the device, [2 * CHUNK, V]. */
const CHUNK = 32;

/**
 * S from the model itself, without a judge: how much the alignment instruction favours the base answer.
 *
 *     d = mean over answer tokens of (log P2(token) - log P1(token))      nats a token
 *     S = max(1, 100 / (1 + exp(-d / scale)))
 *
 * S rises with d: 50 where the instruction changes nothing, towards 100 where the instructed context would have
 * favoured the very same answer (nothing is left to align), towards 1 where it turns away from it. An answer drawn
 * from P1 has d <= 0 on average (it is minus a KL divergence), so S is mostly below 50. The scale, 0.5 nats a
 * token, is a choice, not a measurement: scores compare answers of one model, not models.
 *
 * It does not stand in for a judge: with the default 135M model it does not follow the quality of responses
 * (test/fixtures/intrinsic/README.md has the measurement). Larger models have not been measured.
 *
 * @param logpBase log P1 of each answer token, nats, at most 0
 * @param logpInstructed log P2 of the same tokens
 * @throws SdaError `bad-input` for an empty answer and for lengths that differ; `bad-logits` for NaN or values above 0
 */
export function intrinsicScore(
  logpBase: ArrayLike<number>,
  logpInstructed: ArrayLike<number>,
  scale = INTRINSIC_SCALE,
): number {
  const count = logpBase.length;
  if (count === 0 || logpInstructed.length !== count) {
    throw new SdaError(
      'bad-input',
      count === 0 && logpInstructed.length === 0
        ? 'An empty answer has no score.'
        : `The two contexts must score the same tokens, but there are ${count} and ${logpInstructed.length}.`,
    );
  }
  if (!(scale > 0 && Number.isFinite(scale))) {
    throw new SdaError('bad-input', `The scale must be a number above 0, but is ${scale}.`);
  }
  let sum = 0;
  for (let i = 0; i < count; i++) sum += floored(logpInstructed[i]!, i) - floored(logpBase[i]!, i);
  return Math.max(LEAST_INTRINSIC, 100 / (1 + Math.exp(-sum / count / scale)));
}

/** float32 rounding may leave the log-probability of a sure token a little above 0. */
const ROUNDING = 1e-4;

function floored(logp: number, token: number): number {
  if (logp <= ROUNDING) return Math.max(logp, LOG_FLOOR);
  throw new SdaError(
    'bad-logits',
    `The log-probability of answer token ${token} is ${logp}, but must be at most 0: check the weights.`,
  );
}

/** Log-probabilities of the tokens of one answer, nats. */
export interface TokenScores {
  readonly logpBase: Float64Array;
  readonly logpInstructed: Float64Array;
}

/**
 * Log-probabilities of given answer tokens under both prompts, from one batch of two rows: what the prompts share is
 * run once, and the answer in chunks rather than token by token.
 *
 * @param options.logitBias float32 [V], added to the logits as in decoding; see `SdaModel.logitBias`
 * @throws SdaError `bad-input` for an empty answer or prompt and ids outside the vocabulary; `context-exceeded`;
 *   `bad-logits` where a logit is NaN or infinite
 */
export async function scoreTokens(
  model: SdaModel,
  prompts: { readonly baseIds: readonly number[]; readonly instructedIds: readonly number[] },
  answerIds: readonly number[],
  options: { readonly logitBias?: Tensor1D | undefined } = {},
): Promise<TokenScores> {
  const streams = [prompts.baseIds, prompts.instructedIds] as const;
  const { vocabSize } = model.config;
  checkStreams(streams, vocabSize, model.maxContext);
  checkStreams([answerIds], vocabSize, Number.POSITIVE_INFINITY);
  const longest = Math.max(...streams.map((ids) => ids.length)) + answerIds.length;
  if (longest > model.maxContext) {
    throw new SdaError(
      'context-exceeded',
      `A prompt and the answer have ${longest} tokens, but the context holds ${model.maxContext}: shorten one of them.`,
    );
  }
  const scores = streams.map(() => new Float64Array(answerIds.length));
  const cache = new KvCache(model.config, 2, longest, longest, model.decoder.kv);
  try {
    const first = await prefill(model.decoder, streams, cache, {
      ...options,
      beforeForward: breathe,
    });
    await readScores(first, [answerIds[0]!], (stream, _, logp) => {
      scores[stream]![0] = logp;
    });
    for (let start = 0; start < answerIds.length - 1; start += CHUNK) {
      await breathe();
      const inputs = answerIds.slice(start, Math.min(start + CHUNK, answerIds.length - 1));
      const logits = logitsOfAll(model, streams, inputs, start, cache, options.logitBias);
      const targets = answerIds.slice(start + 1, start + 1 + inputs.length);
      await readScores(logits, targets, (stream, at, logp) => {
        scores[stream]![start + 1 + at] = logp;
      });
    }
  } finally {
    cache.dispose();
  }
  return { logpBase: scores[0]!, logpInstructed: scores[1]! };
}

/** The logits behind each of `inputs`, in both rows: [2 * T, V]. */
function logitsOfAll(
  { decoder }: SdaModel,
  streams: readonly [readonly number[], readonly number[]],
  inputs: readonly number[],
  start: number,
  cache: KvCache,
  bias: Tensor1D | undefined,
): Tensor2D {
  const batch = {
    ids: Int32Array.from([...inputs, ...inputs]),
    positions: Int32Array.from(
      streams.flatMap((prompt) => inputs.map((_, i) => prompt.length + start + i)),
    ),
    rows: Int32Array.from([0, 1]),
  };
  return forward(decoder, batch, cache, { logits: 'all', logitBias: bias })!;
}

/** Log-softmax in float64 at one target a line; both streams' lines stand one after the other. Disposes the logits. */
async function readScores(
  logits: Tensor2D,
  targets: readonly number[],
  take: (stream: number, at: number, logp: number) => void,
): Promise<void> {
  const width = logits.shape[1];
  const values = (await logits.data()) as Float32Array;
  logits.dispose();
  for (let line = 0; line < 2 * targets.length; line++) {
    const row = values.subarray(line * width, (line + 1) * width);
    const at = line % targets.length;
    take(Math.floor(line / targets.length), at, row[targets[at]!]! - logSumExp(row));
  }
}

async function breathe(): Promise<void> {
  await new Promise((resolve) => setImmediate(resolve));
}
