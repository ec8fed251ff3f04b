import { rmSync } from 'node:fs';
import OpenAI from 'openai';
import { afterAll, beforeAll } from 'vitest';
import {
  type GenerateRequest,
  type GenerateSummary,
  loadModel,
  type Rule,
  type SdaModel,
} from '../../src/index.js';
import { type SdaServer, type ServeOptions, serve } from '../../src/serve/server.js';
import { summaryOf } from '../support/answers.js';
import { tinyFolder } from '../support/tiny-tokenizer.js';

/** A tiny model that writes characters, behind a real server, and the `openai` client. */
export interface Served {
  readonly model: SdaModel;
  readonly server: SdaServer;
  readonly client: OpenAI;
  /** A request of any kind */
  readonly post: (
    path: string,
    body: unknown,
    headers?: Record<string, string>,
  ) => Promise<Response>;
}

export const NAME = 'tiny';
const KEY = 'a-key-for-tests-0123456789';

/** Serves a tiny checkpoint for the tests of a file. */
export function useServer(options: Partial<ServeOptions> = {}): Served {
  const served: { -readonly [K in keyof Served]?: Served[K] } = {};
  let dir: string;
  beforeAll(async () => {
    dir = tinyFolder('tiny-llama-tied');
    served.model = await loadModel(dir);
    served.server = await serve(served.model, { name: NAME, port: 0, ...options });
    const { url } = served.server;
    const apiKey = options.key ?? KEY;
    served.client = new OpenAI({ baseURL: `${url}/v1`, apiKey, maxRetries: 0, logLevel: 'off' });
    served.post = (path, body, headers = {}) =>
      fetch(url + path, {
        method: 'POST',
        headers: {
          'content-type': 'application/json',
          ...(options.key !== undefined && { authorization: `Bearer ${options.key}` }),
          ...headers,
        },
        body: typeof body === 'string' ? body : JSON.stringify(body),
      });
  });
  afterAll(async () => {
    await served.server?.close();
    served.model?.dispose();
    rmSync(dir, { recursive: true, force: true });
  });
  return served as Served;
}

/** What the model answers by itself, without a server. */
export async function alone(
  { model }: Pick<Served, 'model'>,
  request: GenerateRequest<Rule>,
): Promise<GenerateSummary<Rule>> {
  return summaryOf(model.generate(request));
}

/** Until nothing waits or runs. */
export async function idle({ server }: Pick<Served, 'server'>): Promise<void> {
  for (;;) {
    const health = (await (await fetch(`${server.url}/health`)).json()) as Record<string, number>;
    if (health.running === 0 && health.waiting === 0) return;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
