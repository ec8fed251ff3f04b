import type { scoreTokens } from '../evaluate/intrinsic.js';
import type { IntrinsicPromptOptions } from '../evaluate/intrinsic-evaluator.js';
import { asBase } from '../generate/as-base.js';
import type { SdaEngine } from '../generate/engine.js';
import type { GenerateRequest, GenerateSummary } from '../generate/types.js';
import { amplify } from '../method/amplification.js';
import type { Rule } from '../rules/define.js';
import { ApiError } from './api-error.js';
import { type Asked, refused } from './asked.js';
import type { Service } from './service.js';

/** The base answer and what came of its score: the first half of the paper's loop. */
export interface ScoredBase {
  readonly base: GenerateSummary<Rule>;
  readonly evaluator: string;
  /** S, 0..100 */
  readonly score: number;
  /** a = F(S) */
  readonly amplification: number;
}

/** A conversation as the evaluators see it. */
export interface Scoring {
  /** Q */
  readonly query: string;
  readonly prompt: IntrinsicPromptOptions;
}

/**
 * Answers as the base model, has the answer scored, and says what a is.
 *
 * @throws ApiError 400 for an evaluator that there is not, 502 where there is no score
 */
export async function scoreBase(
  { engine, evaluators }: Service,
  { request, field, seeds }: Asked,
  { query, prompt }: Scoring,
  signal: AbortSignal,
): Promise<ScoredBase> {
  const name = field!.evaluator!;
  const evaluatorFor = Object.hasOwn(evaluators, name) ? evaluators[name] : undefined;
  if (!evaluatorFor) {
    const known = Object.keys(evaluators).join(', ');
    throw refused(
      'sda.evaluator',
      `There is no evaluator "${name.slice(0, 80)}" here: there is ${known}`,
    );
  }
  const base = await finished(engine, {
    ...asBase(request as GenerateRequest<Rule>),
    seed: seeds[0],
    signal,
  });
  const { instruction, placement, core = 'helpfulness' } = request;
  const evaluator = evaluatorFor({ ...prompt, instruction, placement });
  const { answer: response, thinking } = base;
  const scored = await evaluator.score({ query, response, core, thinking }, { signal });
  if (scored.status === 'failed') {
    throw new ApiError(502, `The base answer has no score: ${scored.reason}`, { code: 'no_score' });
  }
  const { score } = scored;
  const a = amplify(score, field!.amplification_function);
  return { base, evaluator: name, score, amplification: a };
}

async function finished<R extends Rule>(
  engine: SdaEngine,
  request: GenerateRequest<R>,
): Promise<GenerateSummary<Rule>> {
  const answer = engine.generate(request);
  for (;;) {
    const { value, done } = await answer.next();
    if (done) return value as unknown as GenerateSummary<Rule>;
  }
}

/** `scoreTokens` by an engine, which goes on with other answers meanwhile. */
export function engineScores(engine: SdaEngine): typeof scoreTokens {
  return async (_, { baseIds, instructedIds }, answerIds) => {
    const logpsOf = async (prompt: readonly number[]) => {
      const { logps } = await engine.given([...prompt, ...answerIds]);
      return Float64Array.from(logps.slice(prompt.length), (logp) => logp!);
    };
    const [logpBase, logpInstructed] = await Promise.all([
      logpsOf(baseIds),
      logpsOf(instructedIds),
    ]);
    return { logpBase: logpBase!, logpInstructed: logpInstructed! };
  };
}
