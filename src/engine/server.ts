import { OpenAI } from 'openai';
import { SdaError } from '../errors.js';
import { endpointOf, keyIn } from '../evaluate/chat-options.js';
import { ProxyFetch, proxyFor, proxySecrets } from '../evaluate/proxy.js';
import { scrubber } from '../evaluate/secrets.js';
import { type Asked, explained } from './failure.js';

/** How a server of OpenAI's protocol is asked. */
export interface ServerOptions {
  /** Such as http://127.0.0.1:8000/v1; the /v1 may be left out */
  readonly baseUrl: string;
  /** Its name for the model; default: the only one that it has */
  readonly model?: string | undefined;
  /** The environment variable that holds its key; default VLLM_API_KEY, which may be unset */
  readonly apiKeyEnv?: string | undefined;
}

/** A model as a server lists it. */
export interface ServedModel {
  readonly id: string;
  /** Positions of prompt and answer; null where the server does not say */
  readonly maxContext: number | null;
}

/** Of one token, in llama.cpp's form. */
export interface IdLogprob {
  readonly id: number;
  readonly logprob: number;
}

/** A stream of a completion. */
export interface CompletionChunk {
  readonly token_ids?: readonly number[] | null;
  readonly logprobs?: {
    readonly top_logprobs?: readonly Record<string, number>[] | null;
    /** The form of llama.cpp */
    readonly content?: readonly { readonly top_logprobs?: readonly IdLogprob[] | null }[] | null;
  } | null;
  readonly finish_reason?: string | null;
  readonly stop_reason?: string | number | null;
}

const KEY = 'VLLM_API_KEY';

/** A server of OpenAI's protocol, asked by the `openai` client. Nothing is repeated here. */
export class EngineServer {
  readonly endpoint: string;
  private readonly client: OpenAI;
  private readonly proxy: ProxyFetch | null;
  private readonly scrub: (text: string) => string;
  private readonly apiKeyEnv: string;

  /** @throws SdaError `bad-input` for an address or key that is none */
  constructor({ baseUrl, apiKeyEnv }: ServerOptions, env = process.env) {
    const endpoint = endpointOf(baseUrl, 'engine');
    this.endpoint = new URL(endpoint).pathname === '/' ? `${endpoint}/v1` : endpoint;
    this.apiKeyEnv = apiKeyEnv ?? KEY;
    const key = keyIn(this.apiKeyEnv, this.endpoint, { optional: apiKeyEnv === undefined, env });
    const proxy = proxyFor(this.endpoint, env);
    this.proxy = proxy && new ProxyFetch(proxy);
    this.scrub = scrubber([...(key ? [key] : []), ...(proxy ? proxySecrets(proxy) : [])]);
    this.client = new OpenAI({
      baseURL: this.endpoint,
      apiKey: key ?? 'none',
      ...(key === undefined && { defaultHeaders: { Authorization: null } }),
      ...(this.proxy && { fetch: this.proxy.fetch }),
      maxRetries: 0,
      timeout: 600_000,
      logLevel: 'off',
    });
  }

  /** The address without the part of OpenAI's protocol, for what servers offer beside it */
  get root(): string {
    return this.endpoint.replace(/\/v\d+$/, '');
  }

  /** What went wrong, as one sentence. */
  explain(error: unknown): SdaError {
    const asked: Asked = {
      endpoint: this.endpoint,
      apiKeyEnv: this.apiKeyEnv,
      scrub: this.scrub,
      proxy: this.proxy?.used() ?? null,
    };
    return explained(error, asked);
  }

  /** Errors as `explain` has them. */
  async told<T>(work: () => PromiseLike<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      throw this.explain(error);
    }
  }

  /**
   * The model that is meant.
   *
   * @throws SdaError where the server has no such model, or several and none is named
   */
  async model(named: string | undefined, signal?: AbortSignal): Promise<ServedModel> {
    const { data } = await this.told(() => this.client.models.list({ signal }));
    const list: unknown = data;
    if (!Array.isArray(list) || list.length === 0) {
      throw new SdaError(
        'unsupported',
        `The server at ${this.endpoint} lists no models: give the address of one of OpenAI's protocol, such as http://HOST:8000/v1.`,
      );
    }
    const models = list as { id: string; max_model_len?: unknown }[];
    const names = models.map(({ id }) => id).join(', ');
    const found = named === undefined ? models[0] : models.find(({ id }) => id === named);
    if (!found || (named === undefined && models.length > 1)) {
      throw new SdaError(
        'bad-input',
        found
          ? `The server at ${this.endpoint} has several models (${names}): name one of them with --engine-model.`
          : `The server at ${this.endpoint} has no model "${named}": it has ${names}.`,
      );
    }
    const { id, max_model_len: most } = found;
    return { id, maxContext: typeof most === 'number' ? most : null };
  }

  /** The version of vLLM; null of another server. */
  async vllmVersion(signal?: AbortSignal): Promise<string | null> {
    const body = await this.offered<{ version?: unknown }>(() =>
      this.client.get(`${this.root}/version`, { signal }),
    );
    return typeof body?.version === 'string' ? body.version : null;
  }

  /** Token ids of a text, as the server's own tokenizer has them; null where it does not offer it. */
  async tokenize(model: string, prompt: string, signal?: AbortSignal): Promise<number[] | null> {
    // of vLLM, and the same of llama.cpp
    const body = { model, prompt, add_special_tokens: false, content: prompt, add_special: false };
    const told = await this.offered<{ tokens?: unknown }>(() =>
      this.client.post(`${this.root}/tokenize`, { body, signal }),
    );
    return Array.isArray(told?.tokens) ? (told.tokens as number[]) : null;
  }

  /** Files beside the weights by name, as sda-vllm offers them; null where the server does not. */
  async texts(signal?: AbortSignal): Promise<Readonly<Record<string, unknown>> | null> {
    const body = await this.offered<{ files?: unknown }>(() =>
      this.client.get(`${this.endpoint}/sda/texts`, { signal }),
    );
    const files = body?.files;
    return typeof files === 'object' ? (files as Record<string, unknown> | null) : null;
  }

  /** What a server answers where it has such a route; null where it has none. Other errors as `explain` has them. */
  private async offered<T>(ask: () => PromiseLike<T>): Promise<T | null> {
    try {
      return await ask();
    } catch (error) {
      if (error instanceof OpenAI.APIError && [404, 405, 501].includes(error.status ?? 0)) {
        return null;
      }
      throw this.explain(error);
    }
  }

  /** A completion as a whole. @throws what the client throws */
  async complete(body: object, signal?: AbortSignal): Promise<readonly CompletionChunk[]> {
    const whole = {
      ...body,
      stream: false,
    } as unknown as OpenAI.CompletionCreateParamsNonStreaming;
    const { choices } = await this.client.completions.create(whole, { signal });
    return choices as unknown as readonly CompletionChunk[];
  }

  /** A completion as it comes. @throws what the client throws */
  async *stream(body: object, signal: AbortSignal): AsyncGenerator<CompletionChunk, void> {
    const streamed = { ...body, stream: true } as unknown as OpenAI.CompletionCreateParamsStreaming;
    for await (const { choices } of await this.client.completions.create(streamed, { signal })) {
      if (choices?.[0]) yield choices[0] as unknown as CompletionChunk;
    }
  }
}
