import {
  stack,
  type Tensor,
  type Tensor1D,
  type Tensor2D,
  tidy,
  unstack,
} from '@tensorflow/tfjs-core';
import type { z } from 'zod';
import { SdaError } from '../errors.js';
import type { StepRule } from '../method/rule.js';
import { drawScores, measure, type ScoreChoice } from '../method/scored.js';
import { checkOf } from './check.js';
import {
  type Definition,
  type Rule,
  type Sampling,
  type SettingsWith,
  settingsWith,
} from './define.js';
import { linesOf, type RuleTaps, stepTaps, tappedFor } from './taps.js';

export type { ScoreChoice } from '../method/scored.js';

interface ScoreDefinition<Stream extends string, Shape extends z.ZodRawShape>
  extends Definition<Stream, Shape> {
  /** What is impossible in this stream stays impossible, whatever its score */
  readonly anchor: NoInfer<Stream>;
  /** What it reads inside its models; default: nothing */
  readonly taps?: RuleTaps<NoInfer<Stream>, SettingsWith<Shape>>;
  /**
   * The scores of one query, float32 [V], of which softmax(score / T) is drawn from: finite, or -Infinity for what must
   * not be drawn. Runs in a `tidy`, once a query: TensorFlow's operations may round a line of a batch unlike the same
   * line alone.
   *
   * @param logPs float32 [V]: log P of each stream, nats; -Infinity where a token is impossible
   * @param tapped float32 [hidden] or [V]: what `taps` named, in its order
   */
  readonly score: (
    logPs: Readonly<Record<NoInfer<Stream>, Tensor1D>>,
    settings: SettingsWith<Shape>,
    tapped: readonly Tensor1D[],
  ) => Tensor;
}

/**
 * A rule written in tfjs operations, for what no blend can say. Temperature, cuts, draw and statistics are those of every
 * rule.
 *
 * Beware of -Infinity - -Infinity and of 0 * -Infinity, which are NaN, in tokens that the anchor finds possible: see
 * `weighted`.
 */
export function scoreRule<Stream extends string, Shape extends z.ZodRawShape>(
  definition: ScoreDefinition<Stream, Shape>,
): Rule<Stream, SettingsWith<Shape>, ScoreChoice<Stream>> {
  const { settings: own, score, anchor, taps, ...rest } = definition;
  const streams = Object.keys(rest.streams) as Stream[];
  const scoring = { name: rest.name, streams, anchor };
  const rule = { ...rest, settings: settingsWith(own) };
  const step: StepRule<SettingsWith<Shape>, ScoreChoice<Stream>> = (logits, draws) => {
    const settings = draws.settings as readonly unknown[] as readonly Sampling[];
    const measured = measure(scoring, logits, settings);
    const held: Tensor[] = [measured.logPs, measured.stats];
    try {
      const scores = tidy(() => {
        const lines = unstack(measured.logPs) as Tensor1D[];
        const ofQuery = draws.settings.map((each, query) => {
          const first = query * streams.length;
          const logPs = Object.fromEntries(streams.map((name, s) => [name, lines[first + s]!]));
          const tapped = taps ? linesOf(tappedFor(rest.name, draws.tapped), query) : [];
          const scores = score(logPs as Record<Stream, Tensor1D>, each, tapped);
          return checked(rest.name, scores, logits.shape[1]);
        });
        return stack(ofQuery) as Tensor2D;
      });
      held.push(scores);
      return drawScores(scoring, scores, measured, { ...draws, settings });
    } finally {
      for (const tensor of held) tensor.dispose();
    }
  };
  const more = { check: checkOf(rule), ...(taps && { taps: stepTaps(rest.name, streams, taps) }) };
  return { ...rule, step: Object.assign(step, more) };
}

function checked(name: string, scores: Tensor, V: number): Tensor {
  if (scores.rank === 1 && scores.shape[0] === V && scores.dtype === 'float32') return scores;
  throw new SdaError(
    'bad-tensor',
    `The score of the rule ${name} must be float32 [${V}], one for each token, but is ${scores.dtype} [${scores.shape}].`,
  );
}
