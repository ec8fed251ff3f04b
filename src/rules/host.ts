import { type Tensor2D, tensor2d } from '@tensorflow/tfjs-core';
import type { z } from 'zod';
import { SdaError } from '../errors.js';
import { checkLogits } from '../method/blend.js';
import type { StepDraws, StepRule } from '../method/rule.js';
import {
  drawScores,
  type Measured,
  measure,
  type ScoreChoice,
  type Scoring,
} from '../method/scored.js';
import type { Tapped } from '../method/taps.js';
import { checkOf } from './check.js';
import {
  type Definition,
  type Rule,
  type Sampling,
  type SettingsWith,
  settingsWith,
} from './define.js';
import { type RuleTaps, stepTaps, tappedFor } from './taps.js';

/** What a host rule is told of a query beside its streams. */
export interface HostQuery {
  /** The caller's number of the query: by it a rule keeps its state */
  readonly query: number;
  /** In 0..1 (1 excluded), from the query's seed, for a rule that draws by itself */
  readonly uniform: number;
  /** [hidden] or [V]: what `taps` named, in its order */
  readonly tapped: readonly Float32Array[];
}

/** One token id; or a score for each of V tokens, to draw from softmax(score / T). */
export type HostScore = number | Float32Array | readonly number[];

interface HostDefinition<Stream extends string, Shape extends z.ZodRawShape>
  extends Definition<Stream, Shape>,
    Pick<StepRule<SettingsWith<Shape>>, 'begin' | 'end'> {
  /** What is impossible in this stream stays impossible, whatever its score */
  readonly anchor: NoInfer<Stream>;
  /** What it reads inside its models; default: nothing */
  readonly taps?: RuleTaps<NoInfer<Stream>, SettingsWith<Shape>>;
  /** @param logPs [V]: log P of each stream, nats, -Infinity where a token is impossible; the rule's to change */
  readonly score: (
    logPs: Readonly<Record<NoInfer<Stream>, Float32Array>>,
    settings: SettingsWith<Shape>,
    query: HostQuery,
  ) => HostScore | Promise<HostScore>;
}

/**
 * A rule as a callback over numbers on the host, asked once a query and step, one query after another. Each step waits for
 * the device and reads all logits: for trying a rule, for one that asks another program, or one with state. Statistics
 * are those of every rule; of a token that the callback names itself the log-probability is 0, as it is the only one.
 */
export function hostRule<Stream extends string, Shape extends z.ZodRawShape>(
  definition: HostDefinition<Stream, Shape>,
): Rule<Stream, SettingsWith<Shape>, ScoreChoice<Stream>> {
  const { settings: own, score, anchor, taps, begin, end, ...rest } = definition;
  const streams = Object.keys(rest.streams) as Stream[];
  const scoring = { name: rest.name, streams, anchor };
  const rule = { ...rest, settings: settingsWith(own) };
  const step: StepRule<SettingsWith<Shape>, ScoreChoice<Stream>> = async (logits, draws) => {
    const settings = draws.settings as readonly unknown[] as readonly Sampling[];
    const measured = measure(scoring, logits, settings);
    try {
      const lines = await readStreams(scoring, measured, draws);
      const tapped = taps ? await readTaps(tappedFor(rest.name, draws.tapped)) : [];
      const V = logits.shape[1];
      const values = new Float32Array(lines.length * V);
      for (const [index, logPs] of lines.entries()) {
        const of = {
          query: draws.queries?.[index] ?? index,
          uniform: draws.uniforms[index]!,
          tapped: tapped[index] ?? [],
        };
        const found = await score(logPs, draws.settings[index]!, of);
        values.set(asScores(rest.name, found, V, of.query), index * V);
      }
      const scores = tensor2d(values, [lines.length, V]);
      const draw = drawScores(scoring, scores, measured, { ...draws, settings });
      scores.dispose();
      return draw;
    } finally {
      measured.logPs.dispose();
      measured.stats.dispose();
    }
  };
  const more = {
    check: checkOf(rule),
    ...(taps && { taps: stepTaps(rest.name, streams, taps) }),
    ...(begin && { begin }),
    ...(end && { end }),
  };
  return { ...rule, step: Object.assign(step, more) };
}

/** log P of the streams of each query, by name. */
async function readStreams<Stream extends string>(
  { streams }: Scoring<Stream>,
  { logPs, stats }: Measured,
  { queries }: StepDraws,
): Promise<Record<Stream, Float32Array>[]> {
  const [B, W] = stats.shape;
  const [values, statistics] = (await Promise.all([logPs.data(), stats.data()])) as Float32Array[];
  const V = logPs.shape[1];
  return Array.from({ length: B }, (_, index) => {
    checkLogits(
      statistics!.subarray(index * W, (index + 1) * W),
      streams,
      queries?.[index] ?? index,
    );
    const line = (s: number) => {
      const first = (index * streams.length + s) * V;
      return values!.slice(first, first + V);
    };
    return Object.fromEntries(streams.map((name, s) => [name, line(s)])) as Record<
      Stream,
      Float32Array
    >;
  });
}

/** What was read for each query, in the order of its taps. */
async function readTaps({ taps, read }: Tapped): Promise<Float32Array[][]> {
  const values = new Map<Tensor2D, Float32Array>();
  for (const tensor of new Set(taps.flat().map(read))) {
    values.set(tensor, (await tensor.data()) as Float32Array);
  }
  return taps.map((own, query) =>
    own.map((tap) => {
      const tensor = read(tap);
      const width = tensor.shape[1];
      return values.get(tensor)!.slice(query * width, (query + 1) * width);
    }),
  );
}

function asScores(name: string, found: HostScore, V: number, query: number): ArrayLike<number> {
  if (typeof found === 'number') {
    if (Number.isInteger(found) && found >= 0 && found < V) {
      return new Float32Array(V).fill(Number.NEGATIVE_INFINITY).fill(0, found, found + 1);
    }
    throw new SdaError(
      'bad-input',
      `The rule ${name} names the token ${found} for query ${query}, but ids are 0..${V - 1}.`,
    );
  }
  const listed: unknown = found;
  const numbers = listed instanceof Float32Array || Array.isArray(listed);
  if (numbers && found.length === V) return found;
  const what = numbers ? `${found.length} scores` : String(listed);
  throw new SdaError(
    'bad-input',
    `The rule ${name} gives ${what} for query ${query}: give a token id, or ${V} scores, one for each token.`,
  );
}
