import {
  createServer,
  type IncomingHttpHeaders,
  type IncomingMessage,
  type ServerResponse,
} from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

// A server in place of a judging model: for tests of everything that a real one does wrong, and for trying a
// configuration without one.

/** A request as the server saw it. */
export interface SeenRequest {
  readonly path: string;
  readonly headers: IncomingHttpHeaders;
  readonly body: {
    readonly model?: string;
    readonly messages?: readonly { readonly role: string; readonly content: string }[];
    readonly response_format?: unknown;
    readonly [key: string]: unknown;
  };
}

/** How one request is answered. */
export type Behaviour = (request: SeenRequest, response: ServerResponse) => void | Promise<void>;

const USAGE = { prompt_tokens: 100, completion_tokens: 10, total_tokens: 110 };

/** A chat completion; `content` may depend on the request. */
export function says(
  content: string | ((request: SeenRequest) => string),
  extra: { finish?: string; refusal?: string; usage?: object | null; contentType?: string } = {},
): Behaviour {
  return (request, response) => {
    const text = typeof content === 'string' ? content : content(request);
    const { finish = 'stop', refusal = null, usage = USAGE } = extra;
    const message = { role: 'assistant', content: refusal === null ? text : null, refusal };
    const body = {
      id: 'chatcmpl-1',
      object: 'chat.completion',
      created: 1,
      model: request.body.model,
      choices: [{ index: 0, message, finish_reason: finish, logprobs: null }],
      ...(usage && { usage }),
    };
    send(response, 200, JSON.stringify(body), {
      'content-type': extra.contentType ?? 'application/json',
    });
  };
}

/** An error in OpenAI's form. */
export function fails(
  status: number,
  error: { message: string; code?: string; type?: string; param?: string },
  headers: Record<string, string> = {},
): Behaviour {
  const body = JSON.stringify({ error: { code: null, param: null, type: 'error', ...error } });
  return (_, response) =>
    send(response, status, body, { 'content-type': 'application/json', ...headers });
}

/** Any body at all; a string is sent as it is. */
export function answers(status: number, body: unknown): Behaviour {
  const text = typeof body === 'string' ? body : JSON.stringify(body);
  return (_, response) => send(response, status, text, AT_ONCE);
}

/** Retried at once where it may be retried. */
const AT_ONCE = { 'retry-after-ms': '1' };

export const rateLimited = (headers: Record<string, string> = { 'retry-after': '0' }) =>
  fails(429, { message: 'Rate limit reached', code: 'rate_limit_exceeded' }, headers);
export const serverError = () => fails(500, { message: 'Something broke' }, AT_ONCE);
export const unauthorized = () =>
  fails(401, { message: 'Incorrect API key provided', code: 'invalid_api_key' });
export const outOfQuota = () =>
  fails(429, { message: 'You exceeded your quota', code: 'insufficient_quota' }, AT_ONCE);

const REFUSES_FORMAT = fails(400, {
  message: "Invalid parameter: 'response_format' of type 'json_schema' is not supported",
  param: 'response_format',
});

/** 400, or as told, for a request with response_format, else as told. */
export function withoutStructure(then: Behaviour, refuse = REFUSES_FORMAT): Behaviour {
  return (request, response) => (request.body.response_format ? refuse : then)(request, response);
}

/** An error that repeats the request's key: its whole header, bare, in a URL, and in base64. */
export const echoesKey =
  (status = 401): Behaviour =>
  (request, response) => {
    const header = String(request.headers.authorization);
    const key = header.replace(/^Bearer /, '');
    const forms = [header, key, encodeURIComponent(key), Buffer.from(key).toString('base64')];
    const message = `Bad header ${JSON.stringify(forms)}`;
    return fails(status, { message }, AT_ONCE)(request, response);
  };

export const brokenJson: Behaviour = (_, response) =>
  send(response, 200, '{"choices": [{"message": {"content": "{\\"score\\": 8', {
    'content-type': 'application/json',
  });
export const notJson: Behaviour = (_, response) =>
  send(response, 200, '<html>Score: 85</html>', { 'content-type': 'text/html' });
export const drops: Behaviour = (_, response) => {
  response.socket?.destroy();
};
export const dropsMidway: Behaviour = (_, response) => {
  response.writeHead(200, { 'content-type': 'application/json', 'content-length': '1000' });
  response.write('{"choices": [', () => response.socket?.destroy());
};
/** Sends its head at once and never its body. */
export const stalls: Behaviour = (_, response) => {
  response.writeHead(200, { 'content-type': 'application/json' });
  response.write('{');
};
export const slow =
  (ms: number, then: Behaviour): Behaviour =>
  async (request, response) => {
    await sleep(ms, undefined, { ref: false });
    await then(request, response);
  };

export interface JudgeServer {
  readonly url: string;
  readonly requests: SeenRequest[];
  /** The most requests that were under way at once */
  readonly busiest: number;
  /** Ends it, with all connections. */
  close(): Promise<void>;
}

/**
 * A real HTTP server with OpenAI's chat completions on a free port of 127.0.0.1. The script answers one request after
 * the other; its last entry answers all that follow.
 */
export async function startJudgeServer(...script: readonly Behaviour[]): Promise<JudgeServer> {
  const requests: SeenRequest[] = [];
  let [running, busiest] = [0, 0];
  const server = createServer((incoming, response) => {
    running++;
    busiest = Math.max(busiest, running);
    response.on('close', () => running--);
    void handle(incoming, response);
  });
  const handle = async (incoming: IncomingMessage, response: ServerResponse) => {
    const request = await read(incoming);
    const turn = requests.push(request) - 1;
    await script[Math.min(turn, script.length - 1)]!(request, response);
  };
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}/v1`,
    requests,
    get busiest() {
      return busiest;
    },
    async close() {
      const closed = new Promise((resolve) => server.close(resolve));
      server.closeAllConnections();
      await closed;
    },
  };
}

async function read(incoming: IncomingMessage): Promise<SeenRequest> {
  const chunks: Buffer[] = [];
  for await (const chunk of incoming) chunks.push(chunk as Buffer);
  const text = Buffer.concat(chunks).toString('utf8');
  const body = (text === '' ? {} : JSON.parse(text)) as SeenRequest['body'];
  return { path: String(incoming.url), headers: incoming.headers, body };
}

function send(
  response: ServerResponse,
  status: number,
  body: string,
  headers: Record<string, string>,
): void {
  response.writeHead(status, headers);
  response.end(body);
}
