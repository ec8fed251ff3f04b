import {
  add,
  argMax,
  concat,
  gather,
  mul,
  range,
  reshape,
  scalar,
  slice,
  stack,
  type Tensor,
  type Tensor1D,
  type Tensor2D,
  tensor1d,
  tensor2d,
  tidy,
  where,
} from '@tensorflow/tfjs-core';
import { STEP_STATS } from '../../kernels/step/index.js';
import { type Blend, type BlendChoice, distributionOf, drawBlend } from './blend.js';
import type { Draw, StepDraws } from './rule.js';
import type { Tap, Tapped } from './taps.js';

const STREAMS = ['mature', 'premature'] as const;
/** What a model says after all of its layers, and what it would say after some. */
export type LayerStream = (typeof STREAMS)[number];

/** What a blend of two depths of one model says of a token. */
export interface LayerChoice extends BlendChoice<LayerStream> {
  /** After how many layers the premature distribution was read */
  readonly layer: number;
}

/**
 * Draws one token a query from a blend of its distribution and that of the one of its taps that diverges most from it; of
 * equals, the lowest.
 *
 * @param logits float32 [B, V], one stream a query
 * @param tapped logits of earlier layers, at least one a query
 */
export function drawLayerContrast(
  logits: Tensor2D,
  tapped: Tapped,
  blends: readonly Blend<LayerStream>[],
  draws: Pick<StepDraws, 'uniforms' | 'queries'>,
): Draw<LayerChoice> {
  const B = blends.length;
  const taps = [...new Map(tapped.taps.flat().map((tap) => [keyOf(tap), tap])).values()];
  taps.sort((a, b) => a.after - b.after); // whatever the neighbours name, equals are met in one order
  let drawn: Draw<BlendChoice<LayerStream>> | undefined;
  const lines = tidy(() => {
    const rows = taps.map(tapped.read);
    const chosen = mostDivergent(logits, rows, taps, tapped.taps); // [B]
    const line = add(mul(chosen, scalar(B, 'int32')), range(0, B, 1, 'int32'));
    const premature = gather(concat(rows, 0), line);
    drawn = drawBlend(pairs(logits, premature as Tensor2D), STREAMS, blends, draws);
    const layers = gather(tensor1d(taps.map(({ after }) => after)), chosen);
    return concat([drawn.lines, reshape(layers, [B, 1])], 1) as Tensor2D;
  });
  const choice = (line: Float32Array, index: number): LayerChoice => ({
    ...drawn!.choice(line, index),
    layer: line.at(-1)!,
  });
  return { lines, choice };
}

const keyOf = ({ after, of }: Tap) => `${after} ${of}`;

/** Of each query the place of its most divergent tap: int32 [B]. */
function mostDivergent(
  logits: Tensor2D,
  rows: readonly Tensor2D[],
  taps: readonly Tap[],
  ofQuery: Tapped['taps'],
): Tensor {
  if (taps.length === 1) return tensor1d(new Int32Array(ofQuery.length), 'int32');
  const own = ofQuery.map((mine) =>
    taps.map((tap) => mine.some((each) => keyOf(each) === keyOf(tap))),
  );
  const js = stack(
    rows.map((row) => divergences(logits, row)),
    1,
  ); // [B, taps]
  return argMax(where(tensor2d(own, undefined, 'bool'), js, -1), 1);
}

/** JS of two distributions of each query, nats: float32 [B]. */
function divergences(mature: Tensor2D, premature: Tensor2D): Tensor1D {
  const B = mature.shape[0];
  const measured: Blend<LayerStream> = {
    anchor: 'mature',
    weights: {},
    temperature: { t0: 1 },
    cuts: { topK: 0, topP: 1, minP: 0 },
    greedy: false,
  };
  const { stats } = distributionOf(
    pairs(mature, premature),
    STREAMS,
    Array.from({ length: B }, () => measured),
  );
  return reshape(slice(stats, [0, STEP_STATS.js], [B, 1]), [B]) as Tensor1D;
}

/** Lines of two streams in turn: float32 [2 B, V]. */
function pairs(first: Tensor2D, second: Tensor2D): Tensor2D {
  const [B, V] = first.shape;
  return reshape(stack([first, second], 1), [2 * B, V]) as Tensor2D;
}
