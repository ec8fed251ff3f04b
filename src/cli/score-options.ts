import { type Command, InvalidArgumentError, Option } from 'commander';
import { SdaError } from '../errors.js';
import { BUILTIN_TEMPLATES } from '../text/builtin-templates.js';
import { CORES, type CoreName } from '../text/instructions.js';
import { PLACEMENTS, type Placement } from '../text/prompts.js';
import {
  addLoadOptions,
  addModelOption,
  day,
  type ModelOptions,
  number,
  templateVariable,
  wholeNumber,
} from './options.js';

const KINDS = ['openai', 'intrinsic', 'fixed', 'file'] as const;

/** What commander hands to the action of `sda score`. */
export interface ScoreOptions extends ModelOptions {
  readonly query?: string;
  readonly response?: string;
  readonly responseFile?: string;
  readonly file?: string;
  readonly core: CoreName;
  readonly evaluator: (typeof KINDS)[number];
  readonly judgeModel?: string;
  readonly baseUrl?: string;
  readonly apiKeyEnv?: string;
  readonly rubric?: string;
  readonly structured: boolean;
  readonly temperature?: number;
  readonly maxTokens?: number;
  readonly maxCompletionTokens?: number;
  readonly maxRetries?: number;
  readonly timeout?: number;
  readonly concurrency?: number;
  readonly reasks?: number;
  readonly price?: { input: number; output: number };
  readonly costCap?: number;
  readonly cacheDir?: string;
  readonly instruction?: string;
  readonly placement?: Placement;
  readonly system?: string;
  readonly foldSystem?: boolean;
  readonly chatTemplate?: string;
  readonly date?: Date;
  readonly templateVar?: Record<string, unknown>;
  readonly scale?: number;
  readonly fixedScore?: number;
  readonly scores?: string;
  readonly json?: boolean;
}

const positive = number('a number above 0', (value) => value > 0);
const notNegative = number('a number of at least 0', (value) => value >= 0);
const percent = number('a number in 0..100', (value) => value >= 0 && value <= 100);

/** Adds the options of `sda score` to a command. */
export function addScoreOptions(command: Command): Command {
  const withInput = command
    .optionsGroup('What to score:')
    .option('--query <text>', 'the query that was answered')
    .addOption(
      new Option('--response <text>', 'the response to it, without any thinking').conflicts(
        'responseFile',
      ),
    )
    .option('--response-file <file>', 'the response as a text file')
    .addOption(
      new Option(
        '--file <jsonl>',
        'many: lines of {"query", "response"}, and where wanted "id", "core", "expected"',
      ).conflicts(['query', 'response', 'responseFile']),
    )
    .addOption(
      new Option('--core <name>', 'what it is scored for').choices(CORES).default('helpfulness'),
    )
    .addOption(new Option('--evaluator <kind>', 'who scores').choices(KINDS).makeOptionMandatory())
    .optionsGroup('With --evaluator openai, any server with the chat completions of OpenAI:')
    .option('--judge-model <name>', 'the model asked (default: gpt-4.1, as in the paper)')
    .option('--base-url <url>', "the server (default: OPENAI_BASE_URL, else OpenAI's own)")
    .option('--api-key-env <name>', 'the variable that holds the key (default: OPENAI_API_KEY)')
    .option('--rubric <text>', "instead of the core's own")
    .option('--no-structured', 'do not ask for output by a JSON schema')
    .option('--temperature <t>', 'sent only where given', number('a number in 0..2', inUnit))
    .option('--max-tokens <n>', "of the judge's answer", wholeNumber(1))
    .option('--max-completion-tokens <n>', 'the same, as newer models want it', wholeNumber(1))
    .option('--max-retries <n>', 'after errors that may pass (default: 2)', wholeNumber(0))
    .option('--timeout <seconds>', 'for one request (default: 120)', positive)
    .option('--concurrency <n>', 'requests at once (default: 4)', wholeNumber(1))
    .option('--reasks <n>', 'after answers that cannot be read (default: 2)', wholeNumber(0))
    .option('--price <in,out>', 'US dollars per million tokens, such as 2,8', price)
    .option('--cost-cap <dollars>', 'ask nothing more after that; needs --price', notNegative)
    .option('--cache-dir <dir>', 'keep answers there, and ask nothing twice');
  return addLoadOptions(
    addModelOption(withInput.optionsGroup('With --evaluator intrinsic, the model itself:')),
  )
    .option('--instruction <text>', "an alignment instruction of your own, not the core's")
    .addOption(
      new Option('--placement <where>', 'where it stands (default: after-query)').choices(
        PLACEMENTS,
      ),
    )
    .option('--system <text>', 'a system line for both prompts')
    .option('--fold-system', "put system text into the user's turn")
    .option(
      '--chat-template <name>',
      `a file, or a built-in template (${Object.keys(BUILTIN_TEMPLATES).join(', ')})`,
    )
    .option('--date <yyyy-mm-dd>', 'the day that a template sees (default: today)', day)
    .option('--template-var <name=json>', 'a variable of the template', templateVariable)
    .option('--scale <nats>', 'nats a token at which the score is 73 (default: 0.5)', positive)
    .optionsGroup('With the other evaluators:')
    .option('--fixed-score <s>', 'with fixed: the score of everything, 0..100', percent)
    .option('--scores <file>', 'with file: lines of {"id" or "query", "score"}')
    .optionsGroup('What to print:')
    .option('--json', 'one JSON object; with --file one a line');
}

function inUnit(value: number): boolean {
  return value >= 0 && value <= 2;
}

function price(text: string): { input: number; output: number } {
  const [input, output, ...rest] = text.split(',').map((part) => notNegative(part.trim()));
  if (input !== undefined && output !== undefined && rest.length === 0) return { input, output };
  throw new InvalidArgumentError('Expected two prices such as 2,8.');
}

/** Flags that belong to one evaluator. */
const BELONGS: Readonly<
  Record<ScoreOptions['evaluator'], Readonly<Partial<Record<keyof ScoreOptions, string>>>>
> = {
  openai: {
    judgeModel: '--judge-model',
    baseUrl: '--base-url',
    apiKeyEnv: '--api-key-env',
    rubric: '--rubric',
    structured: '--no-structured',
    temperature: '--temperature',
    maxTokens: '--max-tokens',
    maxCompletionTokens: '--max-completion-tokens',
    maxRetries: '--max-retries',
    timeout: '--timeout',
    concurrency: '--concurrency',
    reasks: '--reasks',
    price: '--price',
    costCap: '--cost-cap',
    cacheDir: '--cache-dir',
  },
  intrinsic: {
    model: '--model',
    dtype: '--dtype',
    kv: '--kv',
    context: '--context',
    tieMissingHead: '--tie-missing-head',
    memoryCheck: '--no-memory-check',
    instruction: '--instruction',
    placement: '--placement',
    system: '--system',
    foldSystem: '--fold-system',
    chatTemplate: '--chat-template',
    date: '--date',
    templateVar: '--template-var',
    scale: '--scale',
  },
  fixed: { fixedScore: '--fixed-score' },
  file: { scores: '--scores' },
};

/** What options of one evaluator are where they are not given. */
const DEFAULTS: Partial<ScoreOptions> = {
  structured: true,
  dtype: 'auto',
  kv: 'float32',
  memoryCheck: true,
};

/**
 * The evaluator as a configuration file would name it; see `evaluatorSchema`.
 *
 * @throws SdaError `usage` where an option is missing, or belongs to another evaluator
 */
export function evaluatorSpec(options: ScoreOptions): Record<string, unknown> {
  const { evaluator: kind, judgeModel = 'gpt-4.1' } = options;
  for (const other of KINDS) {
    if (other === kind) continue;
    const flags = Object.entries(BELONGS[other]) as [keyof ScoreOptions, string][];
    const [, flag] = flags.find(([name]) => options[name] !== DEFAULTS[name]) ?? [];
    if (flag === undefined) continue;
    throw new SdaError(
      'usage',
      `${flag} belongs to --evaluator ${other}, but the evaluator is ${kind}: leave it out.`,
    );
  }
  switch (kind) {
    case 'openai':
      return {
        kind,
        model: judgeModel,
        base_url: options.baseUrl,
        api_key_env: options.apiKeyEnv,
        rubric: options.rubric,
        structured: options.structured,
        temperature: options.temperature,
        max_tokens: options.maxTokens,
        max_completion_tokens: options.maxCompletionTokens,
        max_retries: options.maxRetries,
        timeout_s: options.timeout,
        concurrency: options.concurrency,
        reasks: options.reasks,
        prices: options.price && { [judgeModel]: options.price },
        cost_cap: options.costCap,
        cache_dir: options.cacheDir,
      };
    case 'intrinsic':
      return { kind, scale: options.scale };
    case 'fixed':
      return { kind, score: needed(options.fixedScore, '--evaluator fixed', '--fixed-score S') };
    case 'file':
      return { kind, path: needed(options.scores, '--evaluator file', '--scores FILE') };
  }
}

function needed<T>(value: T | undefined, by: string, flag: string): T {
  if (value !== undefined) return value;
  throw new SdaError('usage', `${by} needs ${flag}: give it.`);
}
