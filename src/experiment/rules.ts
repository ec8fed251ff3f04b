import { basename } from 'node:path';
import { z } from 'zod';
import { SdaError } from '../errors.js';
import { strict } from '../evaluate/create.js';
import { checkModelNames } from '../generate/request.js';
import { isRuleFile } from '../generate/rule-file.js';
import { SAMPLING_NAMES } from '../generate/shown-settings.js';
import { ruleNamed } from '../rules/catalogue.js';
import { type Rule, resolveSettingsOf, type StreamSource } from '../rules/define.js';
import { takesScore } from './method-rules.js';
import { kvSchema, loadDtypeSchema } from './model-types.js';
import { METHODS, type MethodRule } from './rows.js';
import type { RuleFiles } from './rule-files.js';

const text = z.string().refine((value) => value.trim() !== '', 'must not be empty');

const streamSchema = strict('a stream', {
  /** What is added to the query; null: nothing */
  instruction: text.nullable().optional(),
  system: text.optional(),
  /** In place of each item's query */
  query: text.optional(),
  /** The whole prompt as token ids, the same for all items */
  ids: z.array(z.int().min(0)).min(1).optional(),
});

/** Models of streams that a rule has run by others, by the rules' names for them, such as `amateur`. */
export const otherModelsSchema = z.record(
  z.string(),
  strict('a model', {
    dir: text,
    dtype: loadDtypeSchema,
    kv: kvSchema,
    context: z.int().min(2).optional(),
    chat_template: text.optional(),
  }),
);
export type OtherModels = z.infer<typeof otherModelsSchema>;

/** One of `rules`: a rule of the catalogue, or of a file, with its settings, which becomes a method of the run. */
const ruleSchema = strict('a rule', {
  name: z
    .string()
    .regex(/^[\w.-]{1,64}$/, 'must be a name of letters, digits, ".", "_" and "-"')
    .refine(
      (name) => !name.includes('-vs-'),
      'must not hold "-vs-", which comparisons are named by',
    )
    .refine((name) => !(METHODS as readonly string[]).includes(name), 'is a method already'),
  rule: text,
  settings: z.record(z.string(), z.json()).default({}),
  /** In place of the run's */
  instruction: text.optional(),
  /** What a stream that the rule steers away from adds to the query; default: nothing */
  negative: text.optional(),
  /** Single streams that see something else */
  streams: z.record(z.string(), streamSchema).optional(),
  /** Of this rule alone, before those of the run */
  models: otherModelsSchema.optional(),
});
export type RuleEntry = z.infer<typeof ruleSchema>;

export const rulesSchema = z
  .array(ruleSchema)
  .min(1)
  .refine(
    // names of files, which some systems tell apart by more than case
    (list) => new Set(list.map(({ name }) => name.toLowerCase())).size === list.length,
    'must not have a name twice',
  );

export interface RulesConfig {
  readonly rules?: readonly RuleEntry[] | undefined;
  readonly models?: OtherModels | undefined;
  readonly decoding: Readonly<Record<string, unknown>>;
  readonly ruleFiles?: RuleFiles | undefined;
}

/** What an entry's rule is: one of the catalogue, or that of a file, which has been run. */
export function ruleOfEntry(
  { rule }: Pick<RuleEntry, 'rule'>,
  { ruleFiles }: Pick<RulesConfig, 'ruleFiles'>,
): Rule {
  return ruleFiles?.get(rule)?.rule ?? ruleNamed(rule);
}

/**
 * That the rules of a configuration are known, with settings, streams and models that they have.
 *
 * @throws SdaError `bad-input` naming the entry
 */
export function checkRules(config: RulesConfig, where: string): void {
  const { rules = [], models = {} } = config;
  const used = new Set<string>();
  for (const entry of rules) {
    try {
      checkEntry(entry, config);
    } catch (error) {
      if (!(error instanceof SdaError)) throw error;
      throw new SdaError(error.code, `${where}.rules, ${entry.name}: ${error.message}`);
    }
    for (const name of modelsOf(ruleOfEntry(entry, config))) {
      if (!Object.hasOwn(entry.models ?? {}, name)) used.add(name);
    }
  }
  const unused = Object.keys(models).find((name) => !used.has(name));
  if (unused === undefined) return;
  throw new SdaError(
    'bad-input',
    `${where}.models: no stream of a rule of this run is run by "${unused}": take it away, or give a rule that asks for it.`,
  );
}

function checkEntry(entry: RuleEntry, config: RulesConfig): void {
  const rule = ruleOfEntry(entry, config);
  settingsOf(entry, config);
  const asked = modelsOf(rule);
  const ofRun = Object.keys(config.models ?? {}).filter((name) => asked.includes(name));
  checkModelNames(rule, [...new Set([...Object.keys(entry.models ?? {}), ...ofRun])]);
  const names = Object.keys(rule.streams);
  const unknown = Object.keys(entry.streams ?? {}).find((name) => !names.includes(name));
  if (unknown !== undefined) {
    throw new SdaError(
      'bad-input',
      `The rule ${rule.name} has no stream "${unknown}": its streams are ${names.join(', ')}.`,
    );
  }
  const adds = Object.values<StreamSource>(rule.streams).map((source) => source.adds);
  for (const what of ['instruction', 'negative'] as const) {
    if (entry[what] === undefined || adds.includes(what)) continue;
    throw new SdaError(
      'bad-input',
      `No stream of the rule ${rule.name} adds "${what}": leave it out, or give streams their own.`,
    );
  }
}

/** The rule's names for the models of its streams, beside that of the run. */
export function modelsOf({ streams }: Rule): string[] {
  return [...new Set(Object.values<StreamSource>(streams).flatMap(({ model }) => model ?? []))];
}

/**
 * The settings of an entry with every default filled in. How tokens are drawn is the run's, unless the entry says
 * otherwise; for SDA that is all of `decoding`.
 *
 * @param a from the score of an item, where the entry takes it
 */
export function settingsOf(
  entry: Pick<RuleEntry, 'rule' | 'settings'>,
  config: Pick<RulesConfig, 'decoding' | 'ruleFiles'>,
  a?: number,
): Record<string, unknown> {
  const rule = ruleOfEntry(entry, config);
  const { settings } = entry;
  const { decoding } = config;
  const known = Object.keys((rule.settings as unknown as z.ZodObject).shape);
  const ofRun: Record<string, unknown> = {
    ...Object.fromEntries(Object.entries(decoding).map(([key, value]) => [camel(key), value])),
    temperature: decoding.t0,
    amplification: a,
  };
  const taken = known.filter((key) => rule.name === 'sda' || SAMPLING_NAMES.includes(key));
  const given = Object.fromEntries(
    taken.flatMap((key) => (ofRun[key] === undefined ? [] : [[key, ofRun[key]]])),
  );
  const unknown = Object.keys(settings).find((key) => !known.includes(key));
  const whole = unknown === undefined ? { ...given, ...settings } : settings;
  return resolveSettingsOf(rule, whole) as Record<string, unknown>;
}

function camel(name: string): string {
  return name.replace(/_(\w)/g, (_, letter: string) => letter.toUpperCase());
}

/** The rules of a configuration as they decide its numbers, by name: without an amplification that scores give. */
export function decidingRules(config: RulesConfig): Record<string, DecidingRule> {
  const { rules = [], ruleFiles } = config;
  return Object.fromEntries(
    rules.map(({ name, ...entry }) => {
      const settings = settingsOf(entry, config);
      if (takesScore(entry)) delete settings.amplification;
      const { models } = entry;
      const own = {
        ...entry,
        rule: shownName(entry),
        rule_fingerprint: ruleFiles?.get(entry.rule)?.fingerprint,
        settings,
        models: models && decidingModels(models),
      };
      return [name, own];
    }),
  );
}

interface DecidingRule extends MethodRule {
  /** Of the file that it is in */
  readonly rule_fingerprint: string | undefined;
}

/** A rule's name in the catalogue, or that of its file, wherever it lies. */
export function shownName({ rule }: Pick<RuleEntry, 'rule'>): string {
  return isRuleFile(rule) ? basename(rule) : rule;
}

/** Other models as they decide the numbers: without where they are. */
export function decidingModels(models: OtherModels): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(models).map(([name, model]) => [name, { ...model, dir: basename(model.dir) }]),
  );
}
