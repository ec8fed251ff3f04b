import { randomInt } from 'node:crypto';
import { SdaError } from '../errors.js';
import { plainWithTop } from '../generate/top-tokens.js';
import type { GenerateRequest } from '../generate/types.js';
import { amplify } from '../method/amplification.js';
import { ruleNamed } from '../rules/catalogue.js';
import { type Rule, resolveSettingsOf } from '../rules/define.js';
import { sda } from '../rules/sda.js';
import { ApiError } from './api-error.js';
import type { CommonBody, SdaField } from './schema.js';
import type { Service } from './service.js';

/** What a body asks for, but its prompts. */
export interface Asked {
  readonly request: GenerateRequest<Rule>;
  readonly rule: Rule;
  /** Of each answer of a prompt */
  readonly seeds: readonly number[];
  /** undefined: plain decoding */
  readonly field: SdaField | undefined;
  readonly stream: boolean;
  readonly usageInStream: boolean;
}

/** Alternatives beside each token, and how many tokens. */
export interface Wanted {
  readonly top: number;
  readonly maxTokens: number;
}

/**
 * The rule, the settings and the numbers of a body.
 *
 * @throws ApiError for what this server does not do; SdaError for settings that the rule does not take
 */
export function askedOf(
  { name, defaults, limits }: Service,
  body: CommonBody,
  { top, maxTokens }: Wanted,
): Asked {
  if (body.model !== name) {
    throw new ApiError(404, `There is no model "${body.model}" here: it is "${name}".`, {
      code: 'model_not_found',
      param: 'model',
    });
  }
  if (maxTokens > limits.maxTokens) {
    throw refused(
      'max_tokens',
      `${maxTokens} tokens are asked for, but answers have at most ${limits.maxTokens}`,
    );
  }
  const count = body.n ?? 1;
  if (count > limits.answers) {
    throw refused('n', `${count} answers are asked for, but there are at most ${limits.answers}`);
  }
  const field = body.sda === false ? undefined : (body.sda ?? defaults);
  const { rule, settings } = field ? steered(body, field, top) : plain(body, top);
  const seed = body.seed ?? randomInt(2 ** 31);
  const { stop } = body;
  return {
    rule,
    field,
    seeds: Array.from({ length: count }, (_, index) => seed + index),
    stream: body.stream ?? false,
    usageInStream: body.stream_options?.include_usage ?? false,
    request: {
      rule: (rule as unknown) === sda ? undefined : rule,
      settings,
      maxTokens: Math.max(maxTokens, 1),
      stop: typeof stop === 'string' ? [stop] : (stop ?? []),
      singleStream: !field,
      ...(field && {
        core: field.core,
        instruction: field.instruction,
        negative: field.negative,
        placement: field.placement,
      }),
    },
  };
}

/**
 * The rule of a field `sda`, which takes what the field says.
 *
 * @throws ApiError, SdaError as {@link askedOf}
 */
export function ruleOfField(field: SdaField): Rule {
  return steered({ model: '' }, field, 0).rule;
}

export function refused(param: string, why: string): ApiError {
  return new ApiError(400, `${why}.`, { code: 'invalid_value', param });
}

/** The base model alone, as if there were no SDA; where nothing is said it samples at T = 1. */
function plain(body: CommonBody, top: number) {
  const { t0 = 1, topP = 1, topK = 0, minP = 0 } = drawing(body, 't0');
  const rule = top > 0 ? plainWithTop(top) : (sda as unknown as Rule);
  return { rule, settings: { mode: 'base', t0, topP, topK, minP } };
}

function steered(body: CommonBody, field: SdaField, top: number) {
  const rule = ruleNamed(field.rule);
  if (top > 0) {
    throw refused(
      'top_logprobs',
      'The likeliest tokens are told of plain decoding alone: ask for none, or for "sda": false',
    );
  }
  const drawn = drawing(body, rule.name === sda.name ? 't0' : 'temperature');
  const both = Object.keys(drawn).find((setting) => field.settings[setting] !== undefined);
  if (both !== undefined) {
    throw refused(
      `sda.settings.${both}`,
      `${both} is given in sda.settings and beside it: give one of the two`,
    );
  }
  const settings = { ...field.settings, ...drawn, ...amplification(rule, field) };
  return { rule, settings: resolveSettingsOf(rule, settings) as object };
}

/** How tokens are drawn, under the names of settings. */
function drawing({ temperature, top_p, top_k, min_p }: CommonBody, name: 't0' | 'temperature') {
  const given = { [name]: temperature, topP: top_p, topK: top_k, minP: min_p };
  const entries = Object.entries(given).filter(([, value]) => value != null);
  return Object.fromEntries(entries) as Partial<Record<'t0' | 'topP' | 'topK' | 'minP', number>>;
}

function amplification(
  rule: Rule,
  { settings, score, evaluator, amplification_function }: SdaField,
) {
  const ways = [settings.amplification, score, evaluator].filter((way) => way !== undefined);
  if (ways.length > 1) {
    throw refused(
      'sda',
      'sda has several of score, evaluator and settings.amplification: give one of them',
    );
  }
  if (score === undefined && evaluator === undefined) return {};
  if (!takesAmplification(rule)) {
    throw refused(
      'sda',
      `The rule ${rule.name} has no amplification that a score could give: leave score and evaluator out`,
    );
  }
  return score === undefined ? {} : { amplification: amplify(score, amplification_function) };
}

function takesAmplification(rule: Rule): boolean {
  try {
    resolveSettingsOf(rule, { amplification: 0.5 });
    return true;
  } catch (error) {
    if (error instanceof SdaError) return false;
    throw error;
  }
}
