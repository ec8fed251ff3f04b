import { z } from 'zod';
import { AMPLIFICATIONS, type AmplificationName } from '../method/amplification.js';
import { CORES } from '../text/instructions.js';
import { PLACEMENTS } from '../text/prompts.js';
import { ApiError } from './api-error.js';

/** Alternatives that are told beside a token at most. */
const MOST_TOP = 20;
const MOST_STOPS = 16;

const names = Object.keys(AMPLIFICATIONS) as [AmplificationName, ...AmplificationName[]];
const ids = z.array(z.int().min(0)).min(1);

/** The field `sda`: with what an answer is decoded. */
export const sdaSchema = z.strictObject({
  /** A rule of the catalogue */
  rule: z.string().default('sda'),
  /** The rule's own settings, such as `{"k": 2, "sigma": 0.01}` */
  settings: z.record(z.string(), z.unknown()).default({}),
  core: z.enum(CORES).optional(),
  instruction: z.string().optional(),
  negative: z.string().optional(),
  placement: z.enum(PLACEMENTS).optional(),
  /** S of the base answer, 0..100, which gives a; or a itself, in `settings` */
  score: z.number().min(0).max(100).optional(),
  /** Who scores the base answer first, by the name that the server has for it */
  evaluator: z.string().optional(),
  /** F, which makes a of S */
  amplification_function: z.enum(names).optional(),
  /** What the rule says of each token */
  trace: z.boolean().default(false),
  /** Of a completion: the prompts of the rule's other streams, by name */
  prompts: z.record(z.string(), z.union([z.string(), ids])).optional(),
});
export type SdaField = z.infer<typeof sdaSchema>;

/** Fields that mean the same for both kinds of completion. */
const common = {
  model: z.string(),
  n: z.int().min(1).nullish(),
  stop: z.union([z.string(), z.array(z.string()).max(MOST_STOPS)]).nullish(),
  seed: z.int().nullish(),
  max_tokens: z.int().min(0).nullish(),
  temperature: z.number().min(0).max(2).nullish(),
  top_p: z.number().min(0).max(1).nullish(),
  top_k: z.int().min(0).nullish(),
  min_p: z.number().min(0).max(1).nullish(),
  stream: z.boolean().nullish(),
  stream_options: z
    .strictObject({
      include_usage: z.boolean().nullish(),
      include_obfuscation: z.boolean().nullish(),
    })
    .nullish(),
  /** false: plain decoding, also where the server's default is another */
  sda: z.union([z.literal(false), sdaSchema]).nullish(),
  /** Say nothing of how the text comes about */
  user: z.string().nullish(),
  metadata: z.record(z.string(), z.unknown()).nullish(),
  store: z.literal(false).nullish(),
  service_tier: z.string().nullish(),
  // taken where they ask for nothing
  presence_penalty: z.literal(0).nullish(),
  frequency_penalty: z.literal(0).nullish(),
  logit_bias: z.strictObject({}).nullish(),
};

const textPart = z.strictObject({ type: z.literal('text'), text: z.string() });
const content = z.union([z.string(), z.array(textPart)]);

export const chatSchema = z.strictObject({
  ...common,
  messages: z
    .array(
      z.strictObject({
        role: z.enum(['system', 'developer', 'user', 'assistant']),
        content,
        name: z.string().nullish(),
        refusal: z.null().optional(),
      }),
    )
    .min(1),
  max_completion_tokens: z.int().min(1).nullish(),
  logprobs: z.boolean().nullish(),
  top_logprobs: z.int().min(0).max(MOST_TOP).nullish(),
  response_format: z.strictObject({ type: z.literal('text') }).nullish(),
  tools: z.array(z.never()).nullish(),
  /** Variables of the chat template, such as `{"enable_thinking": false}` */
  chat_template_kwargs: z.record(z.string(), z.unknown()).nullish(),
});
export type ChatBody = z.infer<typeof chatSchema>;

export const completionSchema = z.strictObject({
  ...common,
  prompt: z.union([z.string(), ids, z.array(z.string()).min(1), z.array(ids).min(1)]),
  echo: z.boolean().nullish(),
  logprobs: z.int().min(0).max(MOST_TOP).nullish(),
  suffix: z.literal('').nullish(),
  best_of: z.int().min(1).nullish(),
});
export type CompletionBody = z.infer<typeof completionSchema>;
export type CommonBody = Pick<CompletionBody, keyof typeof common>;

/**
 * A body, checked.
 *
 * @throws ApiError 400 that names the field, what is expected, and what was found
 */
export function parseBody<T>(schema: z.ZodType<T>, body: unknown): T {
  const { success, data, error } = schema.safeParse(body);
  if (success) return data;
  const issue = deepest(error.issues[0]!);
  const param = issue.path.join('.');
  if (issue.code === 'unrecognized_keys') {
    const fields = issue.keys.map((key) => [...issue.path, key].join('.')).join(', ');
    throw new ApiError(
      400,
      `This server does not know the field ${fields.slice(0, 200)}: leave it out.`,
      {
        code: 'unknown_parameter',
        param: fields.slice(0, 200),
      },
    );
  }
  const found = shown(issue.path.reduce(valueAt, body));
  const where = param === '' ? 'The body' : `The field ${param}`;
  throw new ApiError(400, `${where} is ${found}: ${expectedBy(issue)}.`, {
    code: 'invalid_value',
    ...(param !== '' && { param }),
  });
}

/** What zod says of a value, without the value. */
function expectedBy({ message }: Issue): string {
  const text = message.replace(/^Invalid (input|option): /, '').replace(/, received .*$/s, '');
  return text.charAt(0).toLowerCase() + text.slice(1);
}

type Issue = z.core.$ZodIssue;

/** Of a union that nothing fits, what the closest member has against the value. */
function deepest(issue: Issue): Issue {
  if (issue.code !== 'invalid_union') return issue;
  const inner = issue.errors.map(([first]) => first!).filter(Boolean);
  const best = inner.reduce<Issue | undefined>(
    (a, b) => (a && a.path.length >= b.path.length ? a : b),
    undefined,
  );
  if (!best || best.path.length === 0) return issue;
  return deepest({ ...best, path: [...issue.path, ...best.path] });
}

function valueAt(value: unknown, key: PropertyKey): unknown {
  return (value as Record<PropertyKey, unknown> | null | undefined)?.[key];
}

function shown(value: unknown): string {
  if (value === undefined) return 'missing';
  const text = JSON.stringify(value);
  return text.length > 80 ? `${text.slice(0, 80)}...` : text;
}
