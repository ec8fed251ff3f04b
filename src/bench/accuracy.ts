import {
  abs,
  argMax,
  equal,
  exp,
  greater,
  logSoftmax,
  mul,
  slice,
  sub,
  sum,
  type Tensor,
  type Tensor2D,
  tidy,
  where,
  zerosLike,
} from '@tensorflow/tfjs-core';
import type { Places } from './forced-text.js';

/** How far a model's distributions are from those of the same model in another type: means over the places of a text. */
export interface Accuracy {
  /** Places that were compared */
  readonly tokens: number;
  /** KL(P1 || P1 here), nats a token */
  readonly klBase: number;
  /** KL(P' || P' here), nats a token */
  readonly klSteered: number;
  /** |JS - JS here|, nats */
  readonly js: number;
  /** Share of places with the same likeliest token, 0..1 */
  readonly sameBase: number;
  readonly sameSteered: number;
}

/** Adds up {@link Accuracy} over some places at a time. */
export class AccuracySums {
  private tokens = 0;
  private readonly sums = { klBase: 0, klSteered: 0, js: 0, sameBase: 0, sameSteered: 0 };

  /** @param expected of the model that others are held against, at the same places as `found` */
  add(expected: Places, found: Places): void {
    this.tokens += expected.base.shape[0];
    const totals = tidy(() => {
      const [p1, q1] = [logSoftmax(expected.base), logSoftmax(found.base)];
      return {
        klBase: divergence(p1, q1),
        klSteered: divergence(expected.steered, found.steered),
        js: sum(abs(sub(jsOf(expected), jsOf(found)))).dataSync()[0]!,
        sameBase: sameLikeliest(p1, q1),
        sameSteered: sameLikeliest(expected.steered, found.steered),
      };
    });
    for (const name of Object.keys(this.sums) as (keyof typeof totals)[]) {
      this.sums[name] += totals[name];
    }
  }

  /** NaN where nothing was added. */
  get means(): Accuracy {
    const mean = (name: keyof typeof this.sums) => this.sums[name] / this.tokens;
    return {
      tokens: this.tokens,
      klBase: mean('klBase'),
      klSteered: mean('klSteered'),
      js: mean('js'),
      sameBase: mean('sameBase'),
      sameSteered: mean('sameSteered'),
    };
  }
}

/** The sum over lines of KL(P || Q), both given as logarithms; what P never says counts nothing. */
function divergence(p: Tensor, q: Tensor): number {
  const chance = exp(p);
  const terms = mul(chance, sub(p, q));
  return total(where(greater(chance, 0), terms, zerosLike(terms)));
}

function jsOf({ stats }: Places): Tensor2D {
  return slice(stats, [0, 0], [stats.shape[0], 1]);
}

function sameLikeliest(p: Tensor, q: Tensor): number {
  return total(equal(argMax(p, 1), argMax(q, 1)).cast('float32'));
}

/** Lines are summed one by one, then in float64. */
function total(values: Tensor): number {
  const lines = values.rank > 1 ? sum(values, 1) : values;
  return (lines.dataSync() as Float32Array).reduce((all, line) => all + line, 0);
}
