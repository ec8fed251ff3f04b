import { createHash, timingSafeEqual } from 'node:crypto';
import { type Context, Hono } from 'hono';
import { bodyLimit } from 'hono/body-limit';
import type { z } from 'zod';
import { ApiError, asApiError } from './api-error.js';
import { chatCompletion, type Reply } from './chat.js';
import { completion } from './completion.js';
import { eventStream } from './event-stream.js';
import type { Page } from './page.js';
import { chatSchema, completionSchema, parseBody } from './schema.js';
import type { Service } from './service.js';

export interface AppOptions {
  /** What clients must send as their bearer token; undefined: nothing */
  readonly key: string | undefined;
  /** What stands at "/" */
  readonly page: Page;
  /** Whether the server is about to end, and takes nothing more */
  readonly closing: () => boolean;
  /** Told of each request when its answer begins: nothing that a client wrote */
  readonly onRequest: (line: RequestLine) => void;
  /** Told of what was not foreseen */
  readonly onFault: (error: unknown) => void;
}

export interface RequestLine {
  readonly method: string;
  /** One of the server's own, or "other" */
  readonly route: string;
  readonly status: number;
  readonly ms: number;
}

const ROUTES = [
  '/',
  '/health',
  '/metrics',
  '/v1/models',
  '/v1/chat/completions',
  '/v1/completions',
];

/** OpenAI's protocol over a service. */
export function createApp(service: Service, options: AppOptions): Hono {
  const app = new Hono();
  const { limits, metrics, engine, name } = service;

  app.use(async (c, next) => {
    const since = performance.now();
    await next();
    const [method, status, ms] = [c.req.method, c.res.status, performance.now() - since];
    const { path } = c.req;
    const route = ROUTES.includes(path)
      ? path
      : path.startsWith('/v1/models/')
        ? '/v1/models'
        : 'other';
    metrics.request(route, status, ms);
    options.onRequest({ method, route, status, ms });
  });
  app.onError((error, c) => answerError(c, error, options));
  app.notFound((c) =>
    answerError(
      c,
      new ApiError(
        404,
        `There is nothing at this address for ${method(c)}: see ${ROUTES.slice(1).join(', ')}.`,
        { code: 'not_found' },
      ),
      options,
    ),
  );

  app.get('/', (c) => {
    c.header('content-security-policy', options.page.policy);
    c.header('x-content-type-options', 'nosniff');
    return c.html(options.page.html);
  });
  app.get('/health', (c) =>
    c.json(
      { status: options.closing() ? 'closing' : 'ok', model: name, ...engine.load },
      options.closing() ? 503 : 200,
    ),
  );
  app.use(async (c, next) => {
    if (options.key !== undefined) checkKey(c.req.header('authorization'), options.key);
    if (options.closing()) {
      c.header('connection', 'close');
      throw new ApiError(503, 'The server is about to end, and takes nothing more.', {
        code: 'closing',
        retryAfter: 5,
      });
    }
    await next();
  });
  app.get('/metrics', async (c) => {
    const { registry } = metrics;
    return c.text(await registry.metrics(), 200, { 'content-type': registry.contentType });
  });

  const card = {
    id: name,
    object: 'model',
    created: Math.floor(Date.now() / 1000),
    owned_by: 'sda-tfjs',
    max_model_len: engine.context,
  };
  app.get('/v1/models', (c) => c.json({ object: 'list', data: [card] }));
  app.get('/v1/models/:id{.+}', (c) => {
    if (c.req.param('id') === name) return c.json(card);
    throw new ApiError(404, `There is no such model here: it is "${name}".`, {
      code: 'model_not_found',
    });
  });

  const limit = bodyLimit({
    maxSize: limits.body,
    onError: () => {
      throw new ApiError(
        413,
        `The body has more than ${limits.body} bytes, which is all that this server takes.`,
        { code: 'body_too_large' },
      );
    },
  });
  const answers =
    <T>(
      schema: z.ZodType<T>,
      answer: (service: Service, body: T, signal: AbortSignal) => Promise<Reply>,
    ) =>
    async (c: Context) => {
      const { signal } = c.req.raw;
      const reply = await answer(service, parseBody(schema, await jsonOf(c)), signal);
      if ('body' in reply) return c.json(reply.body);
      return eventStream(reply.events, signal, (error) => told(error, options).body);
    };
  app.post('/v1/chat/completions', limit, answers(chatSchema, chatCompletion));
  app.post('/v1/completions', limit, answers(completionSchema, completion));
  return app;
}

function method(c: Context): string {
  return /^[A-Z]{1,10}$/.test(c.req.method) ? c.req.method : 'this method';
}

function told(error: unknown, { onFault }: AppOptions): ApiError {
  const apiError = asApiError(error);
  if (apiError.status === 500) onFault(error);
  return apiError;
}

function answerError(c: Context, error: unknown, options: AppOptions): Response {
  const { status, body, details } = told(error, options);
  if (details.retryAfter !== undefined) c.header('retry-after', String(details.retryAfter));
  if (status === 401) c.header('www-authenticate', 'Bearer');
  return c.json(body, status as 400);
}

/** @throws ApiError 401; it does not repeat what was sent */
function checkKey(header: string | undefined, key: string): void {
  const sent = /^Bearer +(\S+)$/i.exec(header ?? '')?.[1];
  const digest = (text: string) => createHash('sha256').update(text).digest();
  if (sent !== undefined && timingSafeEqual(digest(sent), digest(key))) return;
  throw new ApiError(
    401,
    sent === undefined
      ? 'This server wants a key: send it in the header "Authorization: Bearer KEY".'
      : 'The key that was sent is not the one of this server.',
    { code: 'invalid_api_key' },
  );
}

/** @throws ApiError 415 for another type, which a page of another site could send; 400 for what is not JSON */
async function jsonOf(c: Context): Promise<unknown> {
  const type = c.req.header('content-type') ?? '';
  if (!/^application\/json\s*(;|$)/i.test(type)) {
    throw new ApiError(
      415,
      'The body must be JSON, with the header "Content-Type: application/json".',
      { code: 'not_json' },
    );
  }
  const text = await c.req.text();
  try {
    return JSON.parse(text);
  } catch {
    throw new ApiError(400, 'The body is not JSON, or is cut off.', { code: 'not_json' });
  }
}
