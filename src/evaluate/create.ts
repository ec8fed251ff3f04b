import { z } from 'zod';
import { SdaError } from '../errors.js';
import type { SdaModel } from '../generate/sda-model.js';
import type { ChatOptions } from './chat-options.js';
import type { IntrinsicPromptOptions } from './intrinsic-evaluator.js';
import type { PairJudge } from './judge.js';
import type { Ledger } from './ledger.js';
import type { Evaluator } from './types.js';

const text = z.string().refine((value) => value.trim() !== '', 'must not be empty');
const atLeast = (least: number) => z.number().min(least);
const wholeFrom = (least: number) => z.int().min(least);
const price = strict('prices', { input: atLeast(0), output: atLeast(0) });

/** A model behind an OpenAI-compatible server; see `ChatOptions` for meaning and defaults. */
const chatShape = {
  kind: z.literal('openai'),
  base_url: text.optional(),
  model: text.optional(),
  // not quoted in messages: a key may stand here by mistake
  api_key_env: z
    .string()
    .regex(/^[A-Za-z_]\w*$/, 'must be the name of an environment variable, such as OPENAI_API_KEY')
    .optional(),
  structured: z.boolean().optional(),
  temperature: z.number().min(0).max(2).optional(),
  max_tokens: wholeFrom(1).optional(),
  max_completion_tokens: wholeFrom(1).optional(),
  max_retries: wholeFrom(0).optional(),
  /** Seconds for one request with its whole answer */
  timeout_s: z.number().min(0.001).max(86_400).optional(),
  concurrency: wholeFrom(1).optional(),
  reasks: wholeFrom(0).optional(),
  /** By model: US dollars per million tokens */
  prices: z.record(z.string(), price).optional(),
  cost_cap: atLeast(0).optional(),
  cache_dir: text.optional(),
  rubric: text.optional(),
};

/** An evaluator as a configuration file names it. Paths are as given: relative ones to the working directory. */
export const evaluatorSchema = z.discriminatedUnion(
  'kind',
  [
    strict('openai', chatShape),
    /** From the model itself; `scale` in nats a token, see `intrinsicScore` */
    strict('intrinsic', { kind: z.literal('intrinsic'), scale: z.number().positive().optional() }),
    strict('fixed', { kind: z.literal('fixed'), score: z.number().min(0).max(100) }),
    /** Scores made elsewhere; see `fileEvaluator` */
    strict('file', { kind: z.literal('file'), path: text }),
  ],
  { error: 'must have a kind: openai, intrinsic, fixed or file' },
);
export type EvaluatorSpec = z.infer<typeof evaluatorSchema>;

/** A pairwise judge as a configuration file names it. */
export const judgeSchema = z.discriminatedUnion(
  'kind',
  [strict('openai', { ...chatShape, seed: z.int().optional() })],
  { error: 'must have a kind: openai' },
);
export type JudgeSpec = z.infer<typeof judgeSchema>;

/** An object whose unknown keys are named together with the known ones. */
export function strict<T extends z.ZodRawShape>(name: string, shape: T) {
  return z.strictObject(shape, {
    error: (issue) => {
      if (issue.code !== 'unrecognized_keys') return undefined;
      if (issue.keys.some((key) => /^(api_?)?key$/i.test(key))) {
        return 'must not hold a key: put it into an environment variable, and give the name of that with api_key_env';
      }
      const plural = issue.keys.length > 1 ? 's' : '';
      return `unknown key${plural} ${issue.keys.join(', ')} (known for ${name}: ${Object.keys(shape).join(', ')})`;
    },
  });
}

/**
 * An object of a configuration, checked.
 *
 * @param what its name in messages, such as "evaluator"
 * @throws SdaError `bad-input` naming each field at fault
 */
export function parseSpec<T>(schema: z.ZodType<T>, value: unknown, what: string): T {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const problems = parsed.error.issues.map(
    ({ path, message }) => `${[what, ...path].join('.')}: ${message}`,
  );
  throw new SdaError('bad-input', `${problems.join('; ')}.`);
}

/**
 * Makes an evaluator.
 *
 * @param model whose answers are scored; `intrinsic` alone needs it
 * @param prompt how that model's prompts are made; `intrinsic` alone needs it
 * @param ledger what counts towards a cost cap; see `ChatOptions`
 * @throws SdaError `bad-input`, `file-missing` or `bad-file`, before anything is scored
 */
export async function createEvaluator(
  spec: EvaluatorSpec,
  model?: SdaModel,
  prompt: IntrinsicPromptOptions = {},
  ledger?: Ledger,
): Promise<Evaluator> {
  switch (spec.kind) {
    case 'openai': {
      const { OpenAiEvaluator } = await import('./openai.js');
      return new OpenAiEvaluator({ ...chatOptions(spec), rubric: spec.rubric, ledger });
    }
    case 'intrinsic': {
      if (!model) {
        throw new SdaError('bad-input', 'The intrinsic evaluator needs a loaded model: give one.');
      }
      const { intrinsicEvaluator } = await import('./intrinsic-evaluator.js');
      return intrinsicEvaluator(model, { ...prompt, scale: spec.scale });
    }
    case 'fixed': {
      const { fixedEvaluator } = await import('./fixed.js');
      return fixedEvaluator(spec.score);
    }
    case 'file': {
      const { fileEvaluator } = await import('./file.js');
      return fileEvaluator(spec.path);
    }
  }
}

/** @throws SdaError `bad-input` for a missing key and options that do not go together. */
export async function createJudge(spec: JudgeSpec, ledger?: Ledger): Promise<PairJudge> {
  const { PairJudge } = await import('./judge.js');
  return new PairJudge({ ...chatOptions(spec), rubric: spec.rubric, seed: spec.seed, ledger });
}

function chatOptions(spec: Omit<z.infer<z.ZodObject<typeof chatShape>>, 'kind'>): ChatOptions {
  return {
    baseURL: spec.base_url,
    model: spec.model,
    apiKeyEnv: spec.api_key_env,
    structured: spec.structured,
    temperature: spec.temperature,
    maxTokens: spec.max_tokens,
    maxCompletionTokens: spec.max_completion_tokens,
    maxRetries: spec.max_retries,
    timeoutMs: spec.timeout_s === undefined ? undefined : Math.ceil(spec.timeout_s * 1000),
    concurrency: spec.concurrency,
    reasks: spec.reasks,
    prices: spec.prices,
    costCap: spec.cost_cap,
    cacheDir: spec.cache_dir,
  };
}
