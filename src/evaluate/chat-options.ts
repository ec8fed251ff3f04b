import { SdaError } from '../errors.js';
import type { Ledger } from './ledger.js';
import type { Price } from './spending.js';

export const OPENAI_ENDPOINT = 'https://api.openai.com/v1';
/** As in the paper. */
export const DEFAULT_CHAT_MODEL = 'gpt-4.1';

/** A model behind an OpenAI-compatible server, and how it is asked. */
export interface ChatOptions {
  /** Default: OPENAI_BASE_URL, else OpenAI's own */
  readonly baseURL?: string | undefined;
  /** Default gpt-4.1, as in the paper */
  readonly model?: string | undefined;
  /**
   * The environment variable that holds the key; default OPENAI_API_KEY. Only where it is not named here, and the
   * server is not OpenAI's, may it be unset.
   */
  readonly apiKeyEnv?: string | undefined;
  /** Ask for output that follows a JSON schema, where the server can; default true */
  readonly structured?: boolean | undefined;
  /** Left to the server unless set; some models take none */
  readonly temperature?: number | undefined;
  /** Sent as `max_tokens` ... */
  readonly maxTokens?: number | undefined;
  /** ... or as `max_completion_tokens`, which newer models of OpenAI want instead */
  readonly maxCompletionTokens?: number | undefined;
  /** How often the client repeats a request after 408, 409, 429, 5xx, time-outs and lost connections; default 2 */
  readonly maxRetries?: number | undefined;
  /** Milliseconds for one request with its whole answer; default 120,000 */
  readonly timeoutMs?: number | undefined;
  /** How many requests may run at once; default 4 */
  readonly concurrency?: number | undefined;
  /** How often a question is asked again after an answer that cannot be read; default 2 */
  readonly reasks?: number | undefined;
  /** By model: US dollars per million tokens */
  readonly prices?: Readonly<Record<string, Price>> | undefined;
  /**
   * US dollars after which nothing more is asked; needs the model's price. Requests that are under way when it is
   * reached end, so that it can be exceeded by their cost.
   */
  readonly costCap?: number | undefined;
  /** What counts towards the cost cap, also of other models and earlier processes; default: what this model takes */
  readonly ledger?: Ledger | undefined;
  /** A folder that keeps what was answered; default none */
  readonly cacheDir?: string | undefined;
}

/** Options checked, with their defaults. The key is not among the enumerable properties. */
export interface ChatSettings {
  readonly endpoint: string;
  readonly model: string;
  readonly apiKeyEnv: string;
  readonly apiKey: string | undefined;
  readonly structured: boolean;
  /** What is sent with each request */
  readonly parameters: {
    readonly temperature?: number;
    readonly max_tokens?: number;
    readonly max_completion_tokens?: number;
  };
  readonly maxRetries: number;
  readonly timeoutMs: number;
  readonly concurrency: number;
  readonly reasks: number;
  readonly price: Price | undefined;
  readonly costCap: number | undefined;
  readonly cacheDir: string | undefined;
}

/** @throws SdaError `bad-input` for a value that is no option, and for a missing key. */
export function chatSettings(options: ChatOptions, env = process.env): ChatSettings {
  const endpoint = endpointOf(options.baseURL ?? (env.OPENAI_BASE_URL?.trim() || OPENAI_ENDPOINT));
  const {
    model = DEFAULT_CHAT_MODEL,
    temperature,
    maxTokens,
    maxCompletionTokens,
    costCap,
  } = options;
  if (model.trim() === '')
    throw new SdaError('bad-input', 'The name of the judging model is empty.');
  if (maxTokens !== undefined && maxCompletionTokens !== undefined) {
    throw new SdaError('bad-input', 'Give maxTokens or maxCompletionTokens, not both.');
  }
  number('temperature', temperature, { least: 0, most: 2 });
  number('costCap', costCap, { least: 0 });
  const price =
    options.prices && Object.hasOwn(options.prices, model) ? options.prices[model] : undefined;
  number(`input price of ${model}`, price?.input, { least: 0 });
  number(`output price of ${model}`, price?.output, { least: 0 });
  if (costCap !== undefined && !price) {
    throw new SdaError(
      'bad-input',
      `A cost cap needs the price of ${model}: give it in US dollars per million input and output tokens.`,
    );
  }
  const settings = {
    endpoint,
    model,
    apiKeyEnv: options.apiKeyEnv ?? 'OPENAI_API_KEY',
    structured: options.structured ?? true,
    parameters: {
      ...(temperature !== undefined && { temperature }),
      ...(maxTokens !== undefined && { max_tokens: whole('maxTokens', maxTokens, 1) }),
      ...(maxCompletionTokens !== undefined && {
        max_completion_tokens: whole('maxCompletionTokens', maxCompletionTokens, 1),
      }),
    },
    maxRetries: whole('maxRetries', options.maxRetries ?? 2, 0),
    timeoutMs: whole('timeoutMs', options.timeoutMs ?? 120_000, 1),
    concurrency: whole('concurrency', options.concurrency ?? 4, 1),
    reasks: whole('reasks', options.reasks ?? 2, 0),
    price,
    costCap,
    cacheDir: options.cacheDir,
  };
  const apiKey = keyOf(options.apiKeyEnv, endpoint, env);
  return Object.defineProperty(settings, 'apiKey', { value: apiKey }) as ChatSettings;
}

/**
 * A server's address; credentials do not belong into it, since addresses are shown and kept.
 *
 * @param what the server is, for errors
 * @throws SdaError `bad-input`
 */
export function endpointOf(text: string, what = 'judging server'): string {
  const url = URL.canParse(text) ? new URL(text) : null;
  if (!url || !/^https?:$/.test(url.protocol)) {
    throw new SdaError(
      'bad-input',
      `The address of the ${what} is not a URL that begins with http:// or https://; give one such as http://127.0.0.1:8000/v1.`,
    );
  }
  if (url.username !== '' || url.password !== '' || url.search !== '' || url.hash !== '') {
    throw new SdaError(
      'bad-input',
      `The address of the ${what} at ${url.host} must have no user name, password, query or fragment: give a key through the environment.`,
    );
  }
  return url.href.replace(/\/+$/, '').replace(/\/chat\/completions$/, '');
}

function keyOf(
  named: string | undefined,
  endpoint: string,
  env: NodeJS.ProcessEnv,
): string | undefined {
  return keyIn(named ?? 'OPENAI_API_KEY', endpoint, {
    optional: named === undefined && endpoint !== OPENAI_ENDPOINT,
    env,
  });
}

/**
 * The key for a server in an environment variable; undefined where it may be missing, and is.
 *
 * @throws SdaError `bad-input`
 */
export function keyIn(
  variable: string,
  endpoint: string,
  { optional, env = process.env }: { optional: boolean; env?: NodeJS.ProcessEnv },
): string | undefined {
  const key = env[variable]?.trim();
  if (!key) {
    if (optional) return undefined;
    throw new SdaError(
      'bad-input',
      `The environment variable ${variable} holds no key for ${endpoint}: set it, or give the address of a server that needs none.`,
    );
  }
  if (!/^[\x21-\x7e]+$/.test(key)) {
    throw new SdaError(
      'bad-input',
      `The key in the environment variable ${variable} has spaces or characters that no key has: set it again.`,
    );
  }
  return key;
}

function number(name: string, value: number | undefined, range: { least: number; most?: number }) {
  const { least, most = Number.MAX_VALUE } = range;
  if (value === undefined || (value >= least && value <= most)) return;
  const wanted = range.most === undefined ? `of at least ${least}` : `in ${least}..${most}`;
  throw new SdaError('bad-input', `${name} must be a number ${wanted}, but is ${value}.`);
}

function whole(name: string, value: number, least: number): number {
  if (Number.isSafeInteger(value) && value >= least) return value;
  throw new SdaError(
    'bad-input',
    `${name} must be a whole number of at least ${least}, but is ${value}.`,
  );
}
