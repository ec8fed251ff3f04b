import { z } from 'zod';
import { type Blend, type BlendChoice, drawBlend } from '../method/blend.js';
import type { Choice, StepRule } from '../method/rule.js';
import { checkOf } from './check.js';

export { resolveSettingsOf } from './check.js';

/** Where a stream's prompt and model come from, unless a request says otherwise. */
export interface StreamSource {
  /** What the user's turn holds beside the query: the request's instruction (or context), its negative one, or nothing */
  readonly adds?: 'instruction' | 'negative' | undefined;
  /** The model that runs it, by the request's name for it; default: the model that is asked */
  readonly model?: string | undefined;
}

/** A method that combines next-token distributions: what it is, as data, and its step. */
export interface Rule<
  Stream extends string = string,
  // biome-ignore lint/suspicious/noExplicitAny: a list of rules holds any settings
  S extends object = any,
  C extends Choice = Choice,
> {
  /** Short and unique, such as "cfg" */
  readonly name: string;
  readonly title: string;
  /** With the names of its streams and settings */
  readonly formula: string;
  /** Authors, year, where */
  readonly source: string;
  /** Its streams, in the order of a query's lines of logits */
  readonly streams: Readonly<Record<Stream, StreamSource>>;
  /** Names, ranges, defaults and meanings of its settings; another name is refused */
  readonly settings: z.ZodType<S>;
  /** Defaults and checks, where `settings` do not say them all; see `resolveSettingsOf` */
  readonly resolve?: (partial: Readonly<Partial<S>> | undefined, of: string) => S;
  readonly step: StepRule<S, C>;
  /** The step as data, where it is a blend, for an engine that has a step of its own */
  readonly asBlend?: BlendStep<Stream, S, C> | undefined;
}

/** A step that is a blend. */
export interface BlendStep<Stream extends string, S extends object, C extends Choice> {
  /** @param streams how many of the rule's a query has */
  readonly of: (settings: S, streams: number) => Blend<Stream>;
  /** What the rule says of a token, from what its blend says */
  readonly choice: (said: BlendChoice<Stream>) => C;
}

export type StreamOf<R> = R extends Rule<infer Stream> ? Stream : never;
export type SettingsOf<R> = R extends Rule<string, infer S> ? S : never;
export type ChoiceOf<R> = R extends Rule<string, object, infer C> ? C : never;

/** Settings that every rule has: how the token is drawn from what the rule makes of the streams. */
export const SAMPLING = {
  temperature: z.number().min(0).default(1).describe('T; 0 takes the likeliest token'),
  topP: z.number().min(0).max(1).default(1).describe('nucleus threshold; 1 is off'),
  topK: z.int().min(0).default(0).describe('keep the k likeliest tokens; 0 is off'),
  minP: z.number().min(0).max(1).default(0).describe('least share of the likeliest; 0 is off'),
  greedy: z.boolean().default(false).describe('take the likeliest token'),
  details: z.boolean().default(false).describe('entropies, kept mass and weights in each step'),
} as const;
export type Sampling = z.infer<z.ZodObject<typeof SAMPLING>>;

/** A blend without what `SAMPLING` says. */
export type Mixture<Stream extends string> = Omit<
  Blend<Stream>,
  'temperature' | 'cuts' | 'greedy' | 'details'
> &
  Partial<Pick<Blend<Stream>, 'temperature'>>;

/** What a rule is beside its step. */
export interface Definition<Stream extends string, Shape extends z.ZodRawShape>
  extends Pick<Rule<Stream>, 'name' | 'title' | 'formula' | 'source' | 'streams'> {
  /** Its own settings, beside `SAMPLING`; one of the same name takes its place, such as for another default */
  readonly settings: Shape;
}
export type SettingsWith<Shape extends z.ZodRawShape> = z.infer<
  z.ZodObject<typeof SAMPLING & Shape>
>;

/** A rule's own settings and `SAMPLING`. */
export function settingsWith<Shape extends z.ZodRawShape>(
  own: Shape,
): z.ZodType<SettingsWith<Shape>> {
  return z.strictObject({ ...SAMPLING, ...own }) as unknown as z.ZodType<SettingsWith<Shape>>;
}

interface BlendDefinition<Stream extends string, Shape extends z.ZodRawShape>
  extends Definition<Stream, Shape> {
  readonly blend: (settings: SettingsWith<Shape>) => Mixture<NoInfer<Stream>>;
}

/** A rule whose step is a blend: see `Blend`. */
export function blendRule<Stream extends string, Shape extends z.ZodRawShape>(
  definition: BlendDefinition<Stream, Shape>,
): Rule<Stream, SettingsWith<Shape>, BlendChoice<Stream>> {
  type S = SettingsWith<Shape>;
  const { settings: own, blend, ...rest } = definition;
  const names = Object.keys(rest.streams) as Stream[];
  const rule = { ...rest, settings: settingsWith(own) };
  const blendOf = (given: S) => sampled(given as Sampling, blend(given));
  const step: StepRule<S, BlendChoice<Stream>> = (logits, draws) =>
    drawBlend(logits, names, draws.settings.map(blendOf), draws);
  return {
    ...rule,
    step: Object.assign(step, { check: checkOf(rule) }),
    asBlend: { of: blendOf, choice: (said) => said },
  };
}

/** A mixture, drawn from as `SAMPLING` says. */
export function sampled<Stream extends string>(
  { temperature: t0, greedy, details, topK, topP, minP }: Sampling,
  mixture: Mixture<Stream>,
): Blend<Stream> {
  return { temperature: { t0 }, ...mixture, cuts: { topK, topP, minP }, greedy, details };
}
