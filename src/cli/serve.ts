import { basename, resolve } from 'node:path';
import { type Command, Option } from 'commander';
import { onAbort } from '../abort.js';
import { messageOf, SdaError } from '../errors.js';
import type { Evaluator } from '../evaluate/types.js';
import type { SdaModel } from '../index.js';
import { DEFAULT_LIMITS } from '../serve/limits.js';
import { openModel, withInterrupt } from './load.js';
import {
  addLoadOptions,
  addModelOption,
  loadOptions,
  type ModelOptions,
  modelDir,
  number,
  wholeNumber,
} from './options.js';
import { note, warn } from './output.js';
import { modelOption } from './rule-options.js';
import { writeLine } from './terminal.js';

interface Options extends ModelOptions {
  readonly host: string;
  readonly port: number;
  readonly name?: string;
  readonly places: number;
  readonly maxWaiting: number;
  readonly maxTokens: number;
  readonly maxAnswers: number;
  readonly maxBody: number;
  readonly apiKeyEnv: string;
  readonly sda?: string;
  readonly evaluator?: string;
  readonly with?: Readonly<Record<string, string>>;
  readonly chatTemplate?: string;
  readonly quiet?: boolean;
}

/** `sda serve`: the model behind OpenAI's protocol. */
export function register(program: Command): void {
  const command = program
    .command('serve')
    .description("serve the model by OpenAI's protocol, with SDA and the other rules");
  addLoadOptions(addModelOption(command))
    .option('--chat-template <name>', 'a file, or a built-in template')
    .option(
      '--with <name=dir>',
      'a model that runs streams of rules, such as amateur=DIR',
      modelOption,
    )
    .optionsGroup('Where:')
    .option('--host <address>', 'other machines reach it with 0.0.0.0', '127.0.0.1')
    .option('--port <n>', '0 takes a free one', port, 8000)
    .option('--name <name>', "the model's name for clients (default: that of its folder)")
    .option(
      '--api-key-env <name>',
      'the variable with the key that clients must send',
      'SDA_API_KEY',
    )
    .optionsGroup('What requests without a field "sda" are decoded with (default: plainly):')
    .option('--sda <json>', 'such as \'{"core": "empathy", "score": 60}\'')
    .option(
      '--evaluator <file>',
      'YAML or JSON as in a configuration: scores base answers on request',
    )
    .optionsGroup('How much:')
    .option('--places <n>', 'answers decoded at once', wholeNumber(1), 8)
    .option(
      '--max-waiting <n>',
      'answers that wait for a place; more are refused',
      wholeNumber(0),
      64,
    )
    .option('--max-tokens <n>', 'of an answer', wholeNumber(1), DEFAULT_LIMITS.maxTokens)
    .option('--max-answers <n>', 'of one request', wholeNumber(1), DEFAULT_LIMITS.answers)
    .option('--max-body <bytes>', 'of one request', wholeNumber(1), DEFAULT_LIMITS.body)
    .addOption(new Option('--quiet', 'write no line for each request'))
    .addHelpText(
      'after',
      `
SIGTERM and Ctrl-C end it when what runs is finished; the second Ctrl-C at once.

Examples:
  sda serve
  sda serve --model path/to/model --port 8080 --places 4
  sda serve --sda '{"core": "truthful", "evaluator": "intrinsic"}'
  SDA_API_KEY=secret sda serve --host 0.0.0.0`,
    )
    .action((options: Options) => withInterrupt((signal) => run(options, signal)));
}

const port = number(
  'a port, 0..65535',
  (value) => Number.isInteger(value) && value >= 0 && value < 65536,
);

async function run(options: Options, signal: AbortSignal): Promise<void> {
  const dir = modelDir(options);
  const defaults = options.sda === undefined ? undefined : jsonOption('--sda', options.sda);
  const evaluators = await evaluatorsOf(options.evaluator);
  const { chatTemplate } = options;
  const loading = { ...loadOptions(options), chatTemplate, signal };
  // the context of an engine is not that of its models: it is the room of each stream in the cache
  const model = await openModel(dir, { ...loading, maxContext: undefined });
  const models: Record<string, SdaModel> = {};
  try {
    for (const [name, other] of Object.entries(options.with ?? {})) {
      models[name] = await openModel(other, {
        ...loading,
        maxContext: undefined,
        adapters: undefined,
      });
    }
    await serveUntil(signal, model, options, { defaults, evaluators, models });
  } finally {
    for (const each of [model, ...Object.values(models)]) each.dispose();
  }
}

interface Prepared {
  readonly defaults: unknown;
  readonly evaluators: Readonly<Record<string, Evaluator>>;
  readonly models: Readonly<Record<string, SdaModel>>;
}

async function serveUntil(
  signal: AbortSignal,
  model: SdaModel,
  options: Options,
  prepared: Prepared,
): Promise<void> {
  const { serve } = await import('../serve/server.js');
  const key = process.env[options.apiKeyEnv] || undefined;
  const name = options.name ?? basename(resolve(model.dir));
  const { places, maxWaiting, host } = options;
  const server = await serve(model, {
    ...prepared,
    name,
    host,
    port: options.port,
    key,
    places,
    maxWaiting,
    context: options.context,
    limits: { body: options.maxBody, maxTokens: options.maxTokens, answers: options.maxAnswers },
    onRequest: ({ method, route, status, ms }) => {
      if (!options.quiet) note(`${method} ${route} ${status} ${Math.round(ms)} ms`);
    },
    onFault: (error) => warn(messageOf(error)),
  });
  if (key === undefined && !['127.0.0.1', '::1', 'localhost'].includes(host)) {
    warn(
      `whoever reaches ${server.url} can use it: set ${options.apiKeyEnv} to a key that clients must send`,
    );
  }
  writeLine(
    `${name} at ${server.url}/v1, ${places} answers at once, ${server.context} tokens each`,
  );
  await new Promise<void>((stop) => onAbort(signal, stop));
  note('ending: what runs is finished first');
  await server.close();
}

async function evaluatorsOf(file: string | undefined): Promise<Record<string, Evaluator>> {
  if (file === undefined) return {};
  const { createEvaluator, evaluatorSchema, parseSpec } = await import('../evaluate/create.js');
  const { readTextFile } = await import('../checkpoint/json-file.js');
  const { parseYaml } = await import('../evaluate/yaml.js');
  const value = parseYaml(await readTextFile(file, 'bad-file'), `The evaluator ${file}`);
  const spec = parseSpec(evaluatorSchema, value, 'evaluator');
  if (spec.kind === 'intrinsic') return {}; // it is always there
  return { [spec.kind]: await createEvaluator(spec) };
}

function jsonOption(flag: string, text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new SdaError(
      'usage',
      `${flag} must be JSON, such as '{"core": "empathy"}', but is ${text}.`,
    );
  }
}
