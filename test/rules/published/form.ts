import type { Rule } from '../../../src/rules/define.js';
import type { Random } from '../../support/random.js';
import type { Row } from '../float64.js';

/** Logits of the streams, by name */
export type Rows = Readonly<Record<string, Row>>;
// biome-ignore lint/suspicious/noExplicitAny: settings of any rule
export type Settings = any;

/** What a method's paper makes of a step: softmax(score / temperature) is drawn from. */
export interface Step {
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

/** A method without its rule, which has the same name. */
export type Method = Omit<Published, 'rule'>;

export const within = (random: Random, from: number, to: number) =>
  from + (to - from) * random.uniform();
export const signed = (weight: number, name: string) => (weight < 0 ? [name] : []);
/** A combination, token by token */
export const each = (row: Row, value: (id: number) => number) =>
  Float64Array.from(row, (_, id) => value(id));
export const temperature = (random: Random) => ({ temperature: within(random, 0.5, 1.5), topP: 1 });

/** base + weight (towards - from), of raw logits */
export function moved(base: Row, weight: number, towards: Row, from: Row): Float64Array {
  return each(base, (i) => base[i]! + weight * (towards[i]! - from[i]!));
}

export const T = ({ temperature }: Settings): number => temperature;
