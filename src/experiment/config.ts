import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { basename, extname } from 'node:path';
import { z } from 'zod';
import { messageOf, SdaError } from '../errors.js';
import { DEFAULT_CHAT_MODEL, OPENAI_ENDPOINT } from '../evaluate/chat-options.js';
import { evaluatorSchema, judgeSchema, parseSpec, strict } from '../evaluate/create.js';
import { RUBRICS } from '../evaluate/rubrics.js';
import { parseYaml } from '../evaluate/yaml.js';
import { AMPLIFICATIONS, type AmplificationName } from '../method/amplification.js';
import { DEFAULT_SETTINGS } from '../method/settings.js';
import { CORES, type CoreName, INSTRUCTIONS } from '../text/instructions.js';
import { PLACEMENTS } from '../text/prompts.js';
import { ALIGNER_PROMPT } from './aligner.js';
import { dataSetSchema } from './data/index.js';
import { checkMethodNames, comparisonProblem } from './methods.js';
import { kvSchema, loadDtypeSchema } from './model-types.js';
import { loadRuleFiles, type RuleFiles } from './rule-files.js';
import {
  checkRules,
  decidingModels,
  decidingRules,
  otherModelsSchema,
  rulesSchema,
} from './rules.js';

const text = z.string().refine((value) => value.trim() !== '', 'must not be empty');
const whole = (least: number) => z.int().min(least);
const fraction = z.number().min(0).max(1);
const d = DEFAULT_SETTINGS;
const AMPLIFICATION_NAMES = Object.keys(AMPLIFICATIONS) as AmplificationName[];

/** Scores and verdicts of a stand-in that judges nothing: to try a configuration without a server. */
const standIn = strict('stand-in', { kind: z.literal('stand-in') });

const modelSchema = strict('model', {
  /** A Hugging Face folder; default: the model of `npm run weights` */
  dir: text.optional(),
  dtype: loadDtypeSchema,
  kv: kvSchema,
  /** Tokens of prompt and answer together; default: the model's own maximum */
  context: whole(2).optional(),
  chat_template: text.optional(),
  tie_missing_head: z.boolean().default(false),
  /** LoRA adapters of PEFT to merge: folders, or folders with a weight */
  adapters: z
    .array(
      z.union([
        text.transform((dir) => ({ dir, weight: 1 })),
        strict('an adapter', { dir: text, weight: z.number().default(1) }),
      ]),
    )
    .optional(),
});

/** Where the base model's answers are decoded; see `RemoteEngine`. */
const engineSchema = strict('engine', {
  kind: z.enum(['local', 'vllm', 'logprobs']),
  base_url: text.optional(),
  /** The server's name for the model; default: its only one */
  model: text.optional(),
  api_key_env: text.optional(),
  /** Answers at once; default: as many as the server takes */
  concurrency: whole(1).optional(),
  /** Seconds without a new token until a server that is away is given up */
  patience_s: z.number().positive().default(600),
}).refine(
  ({ kind, base_url }) => (kind === 'local') === (base_url === undefined),
  'has a base_url where its kind is vllm or logprobs, and none where it is local',
);

const promptSchema = strict('prompt', {
  placement: z.enum(PLACEMENTS).default('after-query'),
  system: text.optional(),
  fold_system: z.boolean().default(false),
  /** The day that a template writes: fixed, so that a run is the same on every day */
  date: z
    .string()
    .regex(/^\d{4}-\d\d-\d\d$/, 'must be a day such as "2026-01-31"')
    .default('2026-01-01'),
  template_variables: z.record(z.string(), z.json()).optional(),
});

const decodingSchema = strict('decoding', {
  max_tokens: whole(1).default(256),
  k: z.number().positive().default(d.k),
  t0: z.number().min(0).default(d.t0),
  sigma: z.number().positive().default(d.sigma),
  t_min: z.number().min(0).default(d.tMin),
  top_p: fraction.default(d.topP),
  top_k: whole(0).default(d.topK),
  min_p: fraction.default(d.minP),
  greedy: z.boolean().default(d.greedy),
  plausibility: fraction.default(d.plausibility),
  /** F, which turns the score into a; `sigmoid` is eq 3 */
  amplification: z.enum(AMPLIFICATION_NAMES).default('sigmoid'),
  stop: z.array(text).default([]),
});

const alignerSchema = strict('aligner', {
  /** An Aligner-style checkpoint, such as aligner-7b-v1.0 */
  dir: text,
  dtype: loadDtypeSchema,
  kv: kvSchema,
  context: whole(2).optional(),
  prompt: text.optional(),
  max_tokens: whole(1).default(512),
});

/** The file that `sda run` takes; see examples/. Paths are relative to the working directory. */
export const configSchema = strict('the configuration', {
  name: z
    .string()
    .regex(/^[\w.-]+$/, 'must be a name of letters, digits, ".", "_" and "-"')
    .optional(),
  model: modelSchema.prefault({}),
  data: dataSetSchema,
  /** Default: this machine */
  engine: engineSchema.optional(),
  /** What is aligned: the built-in instruction, and the rubrics of evaluator and judge */
  core: z.enum(CORES).default('helpfulness'),
  /** In your own words, instead of the core's */
  instruction: text.optional(),
  /** Those of SDA; the rules of this run are methods as well, named here or not */
  methods: z
    .array(text)
    .min(1)
    .default(['sda'])
    .refine((list) => new Set(list).size === list.length, 'must not name a method twice'),
  rules: rulesSchema.optional(),
  models: otherModelsSchema.optional(),
  prompt: promptSchema.prefault({}),
  decoding: decodingSchema.prefault({}),
  aligner: alignerSchema.optional(),
  evaluator: z
    .discriminatedUnion('kind', [...evaluatorSchema.options, standIn], {
      error: 'must have a kind: openai, intrinsic, fixed, file or stand-in',
    })
    .default({ kind: 'intrinsic' }),
  judge: z
    .discriminatedUnion('kind', [...judgeSchema.options, standIn], {
      error: 'must have a kind: openai or stand-in',
    })
    .optional(),
  /** What is judged against what, such as [[sda, steering], [sda, base]]; default: each method against base */
  compare: z
    .array(z.tuple([text, text]))
    .min(1)
    .optional(),
  seed: whole(0).default(0),
  /** Queries decoded at once; does not change the numbers on a CPU */
  batch: whole(1).default(4),
  /** Keep JS, T and log-probabilities of every token. The base model then runs both contexts too. */
  trace: z.boolean().default(true),
});

/** A configuration with every default filled in. */
export type ExperimentConfig = z.infer<typeof configSchema> & {
  readonly name: string;
  /** The rules that it names by their files */
  readonly ruleFiles?: RuleFiles | undefined;
};

/**
 * Reads a configuration, YAML or JSON, and runs the rule files that it names.
 *
 * @throws SdaError `file-missing`, `bad-file` with line and column, `bad-input` naming each field at fault
 */
export async function readConfig(file: string): Promise<ExperimentConfig> {
  let source: string;
  try {
    source = await readFile(file, 'utf8');
  } catch (error) {
    throw new SdaError(
      'file-missing',
      `The configuration ${file} cannot be read (${messageOf(error)}): give the path of a YAML or JSON file, such as examples/offline.yaml.`,
      { cause: error },
    );
  }
  const value = parseYaml(source, `The configuration ${file}`);
  return parseConfig(value, basename(file, extname(file)), file, await loadRuleFiles(value));
}

/**
 * Checks a configuration that was read.
 *
 * @param name of the run, where the configuration gives none
 * @param ruleFiles those that it names: see `loadRuleFiles`
 */
export function parseConfig(
  value: unknown,
  name: string,
  where = name,
  ruleFiles?: RuleFiles,
): ExperimentConfig {
  const config = parseSpec(configSchema, value ?? {}, where);
  if (config.methods.includes('aligner') !== (config.aligner !== undefined)) {
    throw new SdaError(
      'bad-input',
      `${where}: the method "aligner" and the section "aligner" with its model go together, but only one is there.`,
    );
  }
  checkMethodNames(config, where);
  checkRules({ ...config, ruleFiles }, where);
  const problem = comparisonProblem(config);
  if (problem !== null) throw new SdaError('bad-input', `${where}.compare: ${problem}.`);
  return { ...config, name: config.name ?? name.replace(/[^\w.-]/g, '-'), ruleFiles };
}

/** I: the configuration's own instruction, or that of its core. */
export function instructionOf({ core, instruction }: ExperimentConfig): string {
  return instruction ?? INSTRUCTIONS[core];
}

/** The part of a configuration that decides the numbers: neither names, nor speed, nor what may be spent. */
export function decidingSettings(
  config: ExperimentConfig,
  env: NodeJS.ProcessEnv = process.env,
): Record<string, unknown> {
  const { name: _, batch: _batch, ruleFiles: _files, ...others } = config;
  const { model, engine, aligner, evaluator, judge, rules, models, ...rest } = others;
  const deciding = (spec: object) => decidingChat(spec, config.core, env);
  return withoutUndefined({
    ...rest,
    instruction: instructionOf(config),
    model: { ...model, dir: model.dir === undefined ? 'default' : basename(model.dir) },
    ...(engine && engine.kind !== 'local' && { engine: { kind: engine.kind } }),
    ...(aligner && {
      aligner: { prompt: ALIGNER_PROMPT, ...aligner, dir: basename(aligner.dir) },
    }),
    rules: rules && decidingRules(config),
    models: models && decidingModels(models),
    evaluator: deciding(evaluator),
    judge: judge ? deciding(judge) : null,
  }) as Record<string, unknown>;
}

const CHAT_EFFORT = [
  'api_key_env',
  'max_retries',
  'timeout_s',
  'concurrency',
  'prices',
  'cost_cap',
  'cache_dir',
];

/** With the server, model and rubric that are meant where none is named. */
function decidingChat(
  spec: object,
  core: CoreName,
  env: NodeJS.ProcessEnv,
): Record<string, unknown> {
  const defaults = {
    base_url: env.OPENAI_BASE_URL?.trim() || OPENAI_ENDPOINT,
    model: DEFAULT_CHAT_MODEL,
    rubric: RUBRICS[core],
  };
  const whole = 'kind' in spec && spec.kind === 'openai' ? { ...defaults, ...spec } : spec;
  return Object.fromEntries(Object.entries(whole).filter(([key]) => !CHAT_EFFORT.includes(key)));
}

function withoutUndefined(value: unknown): unknown {
  return JSON.parse(JSON.stringify(value));
}

/** The seed of one query: the same for every method, and whatever other queries there are. 0..2^32 - 1. */
export function itemSeed(seed: number, item: string): number {
  return createHash('sha256')
    .update(JSON.stringify([seed, item]))
    .digest()
    .readUInt32LE(0);
}
