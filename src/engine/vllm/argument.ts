import type { BlendPlan } from '../../method/blend.js';

/** Of the argument `sda`, and of what comes back for it: PROTOCOL of sda_vllm/about.py. */
export const PROTOCOL = 1;

/** What all requests of one group say of it. */
export interface GroupArgument {
  readonly group: string;
  readonly streams: number;
  readonly plan: BlendPlan;
  /** One number in 0..1 (1 excluded) for each token; none where the likeliest are taken */
  readonly uniforms: readonly number[];
  /** [first, last] ranges of ids that no token has */
  readonly absent: readonly (readonly [number, number])[];
  /** Ends a request whose group is not whole; one of its stop tokens */
  readonly lone: number;
}

/** The argument of the request of one stream: see sda_vllm/arguments.py. */
export function argumentOf(
  { group, streams, plan, uniforms, absent, lone }: GroupArgument,
  stream: number,
): string {
  const { kinds, numbers, cut, drawing } = plan;
  return JSON.stringify({
    protocol: PROTOCOL,
    group,
    stream,
    streams,
    lone,
    kinds: {
      anchor: kinds.anchor,
      pair: kinds.pair,
      weights: kinds.weights,
      mask: kinds.mask,
      mask_stream: kinds.maskStream,
      temperature: kinds.temperature,
      details: kinds.details,
    },
    numbers: finite({
      weights: numbers.weights,
      total: numbers.total,
      positive_floor: numbers.positiveFloor,
      t0: numbers.t0,
      sigma: numbers.sigma,
      t_min: numbers.tMin,
      weight_floor: numbers.weightFloor,
      alpha: numbers.alpha,
      entropy_base: numbers.entropyBase,
      theta: numbers.theta,
    }),
    cut: finite({ top_k: cut.topK, top_p: cut.topP, temperature: cut.temperature }),
    draw: {
      top_k: drawing.topK,
      top_p: drawing.topP,
      min_p: drawing.minP,
      greedy: drawing.greedy ?? false,
    },
    uniforms: drawing.greedy ? [] : uniforms,
    absent,
  });
}

/** The argument of a request that asks what the server is. */
export function probeArgument(group: string): string {
  return JSON.stringify({ protocol: PROTOCOL, group, stream: 0, streams: 1, lone: 0, probe: true });
}

/** JSON has no Infinity: what is infinite is the default of the server's step, and is left out. */
function finite(numbers: Readonly<Record<string, number | readonly number[] | undefined>>) {
  return Object.fromEntries(
    Object.entries(numbers).filter(([, value]) => Math.abs(Number(value)) !== Infinity),
  );
}

/** Ids below `vocabSize` that no token has, as ranges. */
export function absentIds(
  vocabSize: number,
  hasToken: (id: number) => boolean,
): readonly (readonly [number, number])[] {
  const ranges: [number, number][] = [];
  for (let id = 0; id < vocabSize; id++) {
    if (hasToken(id)) continue;
    const last = ranges.at(-1);
    if (last && last[1] === id - 1) last[1] = id;
    else ranges.push([id, id]);
  }
  return ranges;
}
