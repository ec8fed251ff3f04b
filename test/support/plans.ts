import type { Blend, BlendPlan } from '../../src/method/blend.js';

/** The blend that a plan is of: `planOf` turned round. */
export function blendOf(
  { kinds, numbers: n, cut, drawing }: BlendPlan,
  names: readonly string[],
): Blend<string> {
  const by = names[kinds.maskStream ?? 0]!;
  const t0 = n.t0 ?? 1;
  const masks = {
    none: undefined,
    plausible: { by, plausibility: n.alpha! },
    least: { by, ...cut },
  };
  const temperatures = {
    fixed: { t0 },
    divergence: { t0, sigma: n.sigma!, tMin: n.tMin! },
    entropy: { t0, base: n.entropyBase!, theta: n.theta! },
  };
  return {
    anchor: names[kinds.anchor]!,
    weights: Object.fromEntries(
      names.flatMap((name, s) => (s === kinds.anchor ? [] : [[name, n.weights[s]!]])),
    ),
    sum: n.total,
    positiveFloor: n.positiveFloor,
    byDivergence: kinds.weights === 'js' ? { floor: n.weightFloor! } : undefined,
    pair: [names[kinds.pair[0]]!, names[kinds.pair[1]]!],
    mask: masks[kinds.mask ?? 'none'],
    temperature: temperatures[kinds.temperature ?? 'fixed'],
    cuts: drawing,
    greedy: drawing.greedy ?? false,
    details: kinds.details,
  };
}
