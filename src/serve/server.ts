/**
 * Serving in code, `sda-tfjs/serve`.
 *
 * @module sda-tfjs/serve
 */
import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { serve as listen } from '@hono/node-server';
import { messageOf, SdaError } from '../errors.js';
import { intrinsicEvaluator } from '../evaluate/intrinsic-evaluator.js';
import type { Evaluator } from '../evaluate/types.js';
import { type OpenEngineOptions, openEngine } from '../generate/engine.js';
import { modelOf } from '../generate/request.js';
import type { SdaModel } from '../generate/sda-model.js';
import { type AppOptions, createApp, type RequestLine } from './app.js';
import { ruleOfField } from './asked.js';
import { DEFAULT_LIMITS, type Limits } from './limits.js';
import { Metrics } from './metrics.js';
import { playground } from './page.js';
import { parseBody, type SdaField, sdaSchema } from './schema.js';
import { engineScores } from './scored.js';
import type { Service } from './service.js';

export interface ServeOptions extends OpenEngineOptions {
  /** The model's name in requests and answers */
  readonly name: string;
  /** Default 127.0.0.1 */
  readonly host?: string | undefined;
  /** Default 8000; 0 takes a free one */
  readonly port?: number | undefined;
  /** What clients must send as their bearer token; default: none */
  readonly key?: string | undefined;
  /** The field `sda` of requests that have none; default: those are decoded plainly */
  readonly defaults?: unknown;
  /** Beside `intrinsic`, the model itself: by the names that requests give them */
  readonly evaluators?: Readonly<Record<string, Evaluator>> | undefined;
  readonly limits?: Partial<Limits> | undefined;
  readonly onRequest?: ((line: RequestLine) => void) | undefined;
  readonly onFault?: ((error: unknown) => void) | undefined;
}

export interface SdaServer {
  /** Such as http://127.0.0.1:8000 */
  readonly url: string;
  readonly context: number;
  /** Takes nothing more, finishes the answers that are under way, and ends; the model stays loaded. */
  close(): Promise<void>;
}

/**
 * Serves a loaded model by OpenAI's protocol.
 *
 * @throws SdaError `bad-input` for options that cannot be, and for an address that cannot be listened on; what `openEngine`
 *   throws
 */
export async function serve(model: SdaModel, options: ServeOptions): Promise<SdaServer> {
  const {
    host = '127.0.0.1',
    port = 8000,
    key,
    onRequest = () => {},
    onFault = () => {},
  } = options;
  const defaults = defaultField(model, options);
  const engine = await openEngine(model, options);
  let closing = false;
  const service: Service = {
    engine,
    name: options.name,
    defaults,
    limits: { ...DEFAULT_LIMITS, ...options.limits },
    metrics: new Metrics(engine),
    evaluators: {
      intrinsic: (prompt) =>
        intrinsicEvaluator(model, { ...prompt, scoreWith: engineScores(engine) }),
      ...Object.fromEntries(
        Object.entries(options.evaluators ?? {}).map(([name, evaluator]) => [
          name,
          () => evaluator,
        ]),
      ),
    },
  };
  const page = await playground(options.name, {
    wantsKey: key !== undefined,
    models: Object.keys(options.models ?? {}),
  });
  const appOptions: AppOptions = { key, page, onRequest, onFault, closing: () => closing };
  const { fetch } = createApp(service, appOptions);
  let server: Server;
  try {
    server = await listening(fetch, host, port);
  } catch (error) {
    await engine.close();
    throw new SdaError(
      'bad-input',
      `The server cannot listen on ${host}, port ${port} (${messageOf(error)}): give another --port or --host.`,
      { cause: error },
    );
  }
  const { address, family, port: taken } = server.address() as AddressInfo;
  return {
    url: `http://${family === 'IPv6' ? `[${address}]` : address}:${taken}`,
    context: engine.context,
    async close() {
      closing = true;
      const closed = new Promise((resolve) => server.close(resolve));
      const idle = setInterval(() => server.closeIdleConnections(), 50);
      await closed;
      clearInterval(idle);
      await engine.close();
    },
  };
}

/** @throws SdaError `bad-input` for a default by which no request could be decoded */
function defaultField(model: SdaModel, options: ServeOptions): SdaField | undefined {
  const { defaults, evaluators = {}, models } = options;
  if (defaults === undefined) return undefined;
  try {
    const field = parseBody(sdaSchema, defaults);
    const { streams } = ruleOfField(field);
    for (const stream of Object.entries(streams)) modelOf(model, stream, { models });
    const known = ['intrinsic', ...Object.keys(evaluators)];
    if (field.evaluator !== undefined && !known.includes(field.evaluator)) {
      throw new SdaError(
        'bad-input',
        `There is no evaluator "${field.evaluator}", only ${known.join(', ')}.`,
      );
    }
    return field;
  } catch (error) {
    throw new SdaError('bad-input', `The default for "sda" cannot be: ${messageOf(error)}`);
  }
}

function listening(
  fetch: (request: Request) => Response | Promise<Response>,
  hostname: string,
  port: number,
): Promise<Server> {
  return new Promise((resolve, reject) => {
    const server = listen({ fetch, hostname, port }, () => resolve(server)) as Server;
    server.once('error', reject);
  });
}
