import {
  contextSteering,
  RULES,
  ruleNamed,
  sdaSeveral,
  selfDebiasing,
} from '../../src/rules/catalogue.js';
import type { Rule } from '../../src/rules/define.js';
import type { Random } from '../support/random.js';
import {
  distance,
  entropy,
  jensenShannon,
  largest,
  logSoftmax,
  masked,
  nucleus,
  plausible,
  type Row,
  softmax,
} from './float64.js';

/** Logits of the streams, by name */
type Rows = Readonly<Record<string, Row>>;
// biome-ignore lint/suspicious/noExplicitAny: settings of any rule
type Settings = any;

/** What a method's paper makes of a step: softmax(score / temperature) is drawn from. */
interface Step {
  readonly score: Float64Array;
  readonly temperature: number;
  /** How near a decision about a token was, in the number that decides; default: nothing was decided */
  readonly margin?: number;
}

/** A method as its paper or its code has it, in float64, on rows of any offset. */
export interface Published {
  readonly rule: Rule;
  /** What is impossible here stays impossible */
  readonly anchor: string;
  /** Streams that these settings steer away from: there what is impossible counts as a log-probability of -1e4 */
  readonly away: (settings: Settings) => readonly string[];
  readonly settings: (random: Random) => Record<string, unknown>;
  readonly step: (rows: Rows, settings: Settings) => Step;
  /** Settings that make it plain decoding of the anchor */
  readonly nothing?: Record<string, unknown>;
}

const within = (random: Random, from: number, to: number) => from + (to - from) * random.uniform();
const signed = (weight: number, name: string) => (weight < 0 ? [name] : []);
/** A combination, token by token */
const each = (row: Row, value: (id: number) => number) =>
  Float64Array.from(row, (_, id) => value(id));
const temperature = (random: Random) => ({ temperature: within(random, 0.5, 1.5), topP: 1 });

/** base + weight (towards - from), of raw logits */
function moved(base: Row, weight: number, towards: Row, from: Row): Float64Array {
  return each(base, (i) => base[i]! + weight * (towards[i]! - from[i]!));
}

/** The code's own steps: bounds from a log softmax of the shifted information, a mask of each kind. */
function constrained(
  rows: Rows,
  { alpha, ratio }: Settings,
): { score: Float64Array; margin: number } {
  const [cond, uncond] = [logSoftmax(rows.context!), logSoftmax(rows.plain!)];
  const nats = entropy(rows.context!);
  const shifted = cond.map((value) => -value - nats);
  const information = logSoftmax(shifted.map((v) => (v === Infinity ? -Infinity : v)));
  const possible = [...information].filter((v) => v > -Infinity);
  const threshold = possible.reduce((a, b) => Math.min(a, b)) + Math.log(ratio);
  const filter = largest(possible) - Math.log(ratio);
  const alone = possible.filter((v) => v < threshold).length === 1;
  const score = each(cond, (i) => {
    let c = 1;
    if (information[i]! >= threshold || alone) c = 0;
    if (information[i]! > filter) c = 1;
    return c * cond[i]! + (1 - c) * uncond[i]! + alpha * (cond[i]! - uncond[i]!);
  });
  const margin = Math.min(distance(possible, threshold), distance(possible, filter));
  return { score, margin };
}

function debiased(query: Row, biases: readonly Row[], s: Settings): Float64Array {
  const p = softmax(query);
  const biased = biases.map((row) => softmax(row));
  return each(query, (i) => {
    const delta = Math.max(...biased.map((q) => q[i]!)) - p[i]!;
    return Math.log(p[i]! * Math.max(Math.exp(-s.decay * Math.max(delta, 0)), s.epsilon));
  });
}

const experts = {
  anchor: 'base',
  settings: (r: Random) => ({ alpha: within(r, -2, 3), ...temperature(r) }),
  away: ({ alpha }: Settings) => [alpha < 0 ? 'expert' : 'antiExpert'],
};

const steered = {
  anchor: 'context',
  away: ({ alpha }: Settings) => signed(-alpha, 'plain'),
};

const T = ({ temperature }: Settings): number => temperature;
const fromSda = (js: number, s: Settings) =>
  Math.max(s.tMin, (s.t0 ?? s.temperature) * 0.5 ** (js / s.sigma));

const METHODS: Record<string, Omit<Published, 'rule'>> = {
  plain: {
    anchor: 'prompt',
    away: () => [],
    settings: temperature,
    step: ({ prompt }, s) => ({ score: Float64Array.from(prompt!), temperature: T(s) }),
  },
  edt: {
    anchor: 'prompt',
    away: () => [],
    settings: (r) => ({ ...temperature(r), base: within(r, 0.5, 1), theta: within(r, 0, 2) }),
    step: ({ prompt }, s) => ({
      score: Float64Array.from(prompt!),
      temperature: Math.max(T(s) * s.base ** (s.theta / entropy(prompt!)), 1e-6),
    }),
    nothing: { theta: 0 },
  },
  sda: {
    anchor: 'instructed',
    away: () => ['base'],
    settings: (r) => ({
      amplification: within(r, -0.5, 1),
      k: within(r, 0.5, 3),
      sigma: within(r, 0.1, 1),
      t0: within(r, 0.5, 1.5),
      plausibility: within(r, 0, 0.2),
      topP: 1,
    }),
    step: ({ base, instructed }, s) => {
      const kept = plausible(instructed!, s.plausibility);
      const [p1, p2] = [logSoftmax(base!), logSoftmax(instructed!)];
      const score = each(p2, (i) => p2[i]! + s.k * s.amplification * (p2[i]! - p1[i]!));
      const js = jensenShannon(base!, instructed!);
      return { score: masked(score, kept), temperature: fromSda(js, s), margin: kept.margin };
    },
    nothing: { amplification: 0, sigma: 1e30, t0: 1, topP: 1 },
  },
  cfg: {
    anchor: 'conditional',
    away: ({ weight }) => signed(1 - weight, 'unconditional'),
    settings: (r) => ({ weight: within(r, 0.2, 3), ...temperature(r) }),
    step: ({ conditional, unconditional }, s) => {
      const [c, u] = [logSoftmax(conditional!), logSoftmax(unconditional!)];
      return { score: moved(u, s.weight, c, u), temperature: T(s) };
    },
    nothing: { weight: 1 },
  },
  cad: {
    ...steered,
    settings: (r) => ({ alpha: within(r, -0.5, 2), ...temperature(r) }),
    step: ({ context, plain }, s) => ({
      score: each(context!, (i) => (1 + s.alpha) * context![i]! - s.alpha * plain![i]!),
      temperature: T(s),
    }),
    nothing: { alpha: 0 },
  },
  adacad: {
    anchor: 'context',
    away: () => ['plain'],
    settings: (r) => ({ floor: within(r, 0, 0.9), ...temperature(r) }),
    step: ({ context, plain }, s) => {
      const alpha = Math.max(s.floor, jensenShannon(context!, plain!));
      const score = each(context!, (i) => (1 + alpha) * context![i]! - alpha * plain![i]!);
      return { score, temperature: T(s) };
    },
  },
  coiecd: {
    anchor: 'context',
    away: () => ['plain'],
    settings: (r) => ({
      alpha: within(r, 1, 2),
      ratio: within(r, 2, 20),
      greedy: false,
      ...temperature(r),
    }),
    step: (rows, s) => ({ ...constrained(rows, s), temperature: T(s) }),
  },
  cos: {
    anchor: 'context',
    away: ({ lambda }) => signed(-lambda, 'plain'),
    settings: (r) => ({ lambda: within(r, -0.9, 3), ...temperature(r) }),
    step: ({ context, plain }, s) => {
      const [c, n] = [logSoftmax(context!, T(s)), logSoftmax(plain!, T(s))];
      return { score: moved(c, s.lambda, c, n), temperature: 1 };
    },
    nothing: { lambda: 0, temperature: 1, topP: 1 },
  },
  cd: {
    anchor: 'expert',
    away: () => ['amateur'],
    settings: (r) => ({
      alpha: within(r, 0.01, 0.5),
      amateurTemperature: within(r, 0.5, 2),
      ...temperature(r),
    }),
    step: ({ expert, amateur }, s) => {
      const kept = plausible(expert!, s.alpha);
      const [e, a] = [logSoftmax(expert!), logSoftmax(amateur!, s.amateurTemperature)];
      const score = each(e, (i) => e[i]! - a[i]!);
      return { score: masked(score, kept), temperature: T(s), margin: kept.margin };
    },
  },
  'cd-beta': {
    anchor: 'expert',
    away: () => ['amateur'],
    settings: (r) => ({ alpha: within(r, 0.01, 0.5), beta: within(r, 0.1, 2), ...temperature(r) }),
    step: ({ expert, amateur }, s) => {
      const kept = plausible(expert!, s.alpha);
      const score = each(expert!, (i) => (1 + s.beta) * expert![i]! - s.beta * amateur![i]!);
      return { score: masked(score, kept), temperature: T(s), margin: kept.margin };
    },
    nothing: { beta: 0, alpha: 0 },
  },
  dexperts: {
    ...experts,
    settings: (r) => ({ ...experts.settings(r), baseTopP: within(r, 0.2, 0.7) }),
    step: ({ base, expert, antiExpert }, s) => {
      const kept = nucleus(base!, { topP: s.baseTopP });
      const score = moved(masked(base!, kept), s.alpha, expert!, antiExpert!);
      return { score, temperature: T(s), margin: kept.margin };
    },
    nothing: { alpha: 0, baseTopP: 1 },
  },
  'proxy-tuning': {
    ...experts,
    step: ({ base, expert, antiExpert }, s) => ({
      score: moved(base!, s.alpha, expert!, antiExpert!),
      temperature: T(s),
    }),
    nothing: { alpha: 0 },
  },
  eft: {
    anchor: 'base',
    away: ({ beta }) => [beta < 0 ? 'smallTuned' : 'smallBase'],
    settings: (r) => ({ beta: within(r, -2, 3), ...temperature(r) }),
    step: (rows, s) => {
      const [base, tuned, small] = [rows.base!, rows.smallTuned!, rows.smallBase!].map((row) =>
        logSoftmax(row),
      );
      return { score: moved(base!, s.beta, tuned!, small!), temperature: T(s) };
    },
    nothing: { beta: 0 },
  },
  'linear-alignment': {
    anchor: 'instructed',
    away: ({ ratio }) => signed(-ratio, 'base'),
    settings: (r) => ({
      ratio: within(r, -0.5, 3),
      instructedTopP: within(r, 0.2, 0.7),
      ...temperature(r),
    }),
    step: ({ instructed, base }, s) => {
      const kept = nucleus(instructed!, { topP: s.instructedTopP, tau: T(s) });
      const score = each(base!, (i) => (s.ratio + 1) * instructed![i]! - s.ratio * base![i]!);
      return { score: masked(score, kept), temperature: T(s), margin: kept.margin };
    },
    nothing: { ratio: 0, instructedTopP: 1 },
  },
  preadd: {
    anchor: 'base',
    away: ({ strength }) => signed(strength, 'prefixed'),
    settings: (r) => ({
      strength: within(r, -2, 0.9),
      baseTopK: Math.floor(within(r, 0, 60)),
      baseTopP: within(r, 0.2, 0.7),
      ...temperature(r),
    }),
    step: ({ base, prefixed }, s) => {
      const kept = nucleus(base!, { topK: s.baseTopK, topP: s.baseTopP });
      const score = each(base!, (i) => base![i]! + (prefixed![i]! - base![i]!) * s.strength);
      return { score: masked(score, kept), temperature: T(s), margin: kept.margin };
    },
    nothing: { strength: 0 },
  },
  rose: {
    anchor: 'positive',
    away: ({ alpha }) => signed(-alpha, 'negative'),
    settings: (r) => ({ alpha: within(r, -0.5, 1.5), greedy: false, ...temperature(r) }),
    step: ({ positive, negative }, s) => ({
      score: each(positive!, (i) => positive![i]! - s.alpha * negative![i]!),
      temperature: T(s),
    }),
    nothing: { alpha: 0, greedy: false },
  },
  'instructive-decoding': {
    anchor: 'instructed',
    away: ({ epsilon }) => signed(epsilon, 'noisy'),
    settings: (r) => ({ epsilon: within(r, -1, 0.5), greedy: false, ...temperature(r) }),
    step: ({ instructed, noisy }, s) => ({
      score: each(instructed!, (i) => instructed![i]! + s.epsilon * noisy![i]!),
      temperature: T(s),
    }),
    nothing: { epsilon: 0, greedy: false },
  },
  'self-debiasing': {
    anchor: 'query',
    away: () => [],
    settings: (r) => ({ decay: within(r, 0, 60), epsilon: within(r, 0, 0.1), ...temperature(r) }),
    step: (rows, s) => ({
      score: debiased(rows.query!, [rows.biased!], s),
      temperature: T(s),
    }),
  },
};

const SEVERAL: Published[] = [
  {
    ...METHODS['self-debiasing']!,
    rule: selfDebiasing(['rude', 'toxic']),
    step: (rows, s) => ({
      score: debiased(rows.query!, [rows.rude!, rows.toxic!], s),
      temperature: T(s),
    }),
  },
  {
    rule: contextSteering(['teacher', 'child']),
    anchor: 'plain',
    away: ({ lambda }) => Object.keys(lambda).filter((name) => lambda[name] < 0),
    settings: (r) => ({
      lambda: { teacher: within(r, -1, 2), child: within(r, -1, 2) },
      ...temperature(r),
    }),
    step: ({ plain, teacher, child }, s) => {
      const [n, t, c] = [plain!, teacher!, child!].map((row) => logSoftmax(row, T(s)));
      const { lambda } = s;
      const score = each(
        n!,
        (i) => n![i]! + lambda.teacher * (t![i]! - n![i]!) + lambda.child * (c![i]! - n![i]!),
      );
      return { score, temperature: 1 };
    },
    nothing: { lambda: { teacher: 0, child: 0 }, temperature: 1, topP: 1 },
  },
  {
    rule: sdaSeveral(['kind', 'short']),
    anchor: 'all',
    away: () => ['base', 'kind', 'short'], // floored whatever their weight
    settings: (r) => ({
      amplification: { kind: within(r, -0.3, 0.5), short: within(r, -0.3, 0.5) },
      k: within(r, 0.5, 3),
      sigma: within(r, 0.1, 1),
      ...temperature(r),
    }),
    step: (rows, s) => {
      const [base, all, kind, short] = ['base', 'all', 'kind', 'short'].map((name) =>
        logSoftmax(rows[name]!),
      );
      const { k, amplification: a } = s;
      const score = each(
        all!,
        (i) =>
          all![i]! + k * a.kind * (kind![i]! - base![i]!) + k * a.short * (short![i]! - base![i]!),
      );
      return { score, temperature: fromSda(jensenShannon(rows.base!, rows.all!), s) };
    },
    nothing: { amplification: { kind: 0, short: 0 }, sigma: 1e30, temperature: 1, topP: 1 },
  },
];

/** All rules of the catalogue, and one of each factory; but for DoLa, whose rows are layers: see dola.test.ts. */
export const PUBLISHED: readonly Published[] = [
  ...RULES.filter(({ name }) => name !== 'dola').map(({ name }) => ({
    ...METHODS[name]!,
    rule: ruleNamed(name),
  })),
  ...SEVERAL,
];
