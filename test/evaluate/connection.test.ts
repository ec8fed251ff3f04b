import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { proxyNote, whyNotReached } from '../../src/evaluate/connection.js';
import { OpenAiEvaluator } from '../../src/evaluate/openai.js';
import {
  answers,
  fails,
  INPUT,
  judgeServer,
  KEY,
  notJson,
  startJudgeServer,
} from '../support/judge-server.js';

const PROXIES = ['HTTPS_PROXY', 'HTTP_PROXY', 'ALL_PROXY'];

beforeEach(() => {
  vi.stubEnv('OPENAI_API_KEY', KEY);
  for (const name of PROXIES) {
    vi.stubEnv(name, undefined);
    vi.stubEnv(name.toLowerCase(), undefined);
  }
});
afterEach(() => {
  vi.unstubAllEnvs();
});

async function reasonAt(baseURL: string): Promise<string> {
  const evaluator = new OpenAiEvaluator({ baseURL, maxRetries: 0, reasks: 0 });
  const scored = await evaluator.score(INPUT);
  return scored.status === 'failed' ? `${scored.kind}: ${scored.reason}` : 'scored';
}

describe('a server that is not reached', () => {
  test('at a refused port', async () => {
    const { url, close } = await startJudgeServer(notJson);
    await close();
    const place = new URL(url).host;
    expect(await reasonAt(url)).toBe(
      `unreachable: gpt-4.1 at ${url} cannot be reached (connect ECONNREFUSED ${place}): nothing listens there: start the server, or correct the port.`,
    );
  });

  test('at an unknown host', async () => {
    expect(await reasonAt('http://no-such-host.invalid/v1')).toMatch(
      /^unreachable: .* \(getaddrinfo (?:ENOTFOUND|EAI_AGAIN) no-such-host\.invalid\): the host's name /,
    );
  });

  test.each([
    ['DEPTH_ZERO_SELF_SIGNED_CERT', 'self-signed certificate', /NODE_EXTRA_CA_CERTS$/],
    ['CERT_HAS_EXPIRED', 'certificate has expired', /is not trusted/],
    ['ECONNRESET', 'read ECONNRESET', /was closed before the answer/],
    ['EAI_AGAIN', 'getaddrinfo EAI_AGAIN host', /could not be looked up/],
    ['', 'bad port', /: fetch refuses this port/],
    ['', 'odd', /: check the address/],
  ])('by the innermost cause: %s', (code, message, advice) => {
    const cause = Object.assign(new Error(message), { code });
    const each = Object.assign(new AggregateError([cause]), { code: 'OUTER' });
    for (const inner of [cause, each]) {
      const error = new Error('Connection error.', {
        cause: new TypeError('fetch failed', { cause: inner }),
      });
      const why = whyNotReached(error, { endpoint: 'https://host/v1', proxy: null }, {});
      expect(why.startsWith(`(${message}): `)).toBe(true);
      expect(why).toMatch(advice);
    }
  });

  test('since no TLS is spoken there', async () => {
    const { url } = await judgeServer(notJson);
    expect(await reasonAt(url.replace('http:', 'https:'))).toMatch(
      /: no TLS is spoken there: try an address that begins with http:\/\/\.$/,
    );
  });
});

test('a variable for proxies that is not used is named, without its value', () => {
  const note = (endpoint: string, env: NodeJS.ProcessEnv) => proxyNote(endpoint, null, env);
  const env = { ALL_PROXY: 'socks5://me:sekrit@proxy:1080' };
  expect(note('https://host/v1', env)).toBe('; ALL_PROXY is set, but not used: set HTTPS_PROXY');
  expect(note('http://host/v1', env)).toBe('; ALL_PROXY is set, but not used: set HTTP_PROXY');
  expect(note('https://127.0.0.1:1/v1', env)).toBe('');
  expect(note('https://host/v1', {})).toBe('');
  const used = { address: 'http://p', variable: 'HTTPS_PROXY' };
  expect(proxyNote('https://host/v1', used, env)).toBe('');
});

describe('an address', () => {
  test.each([
    ['404', answers(404, 'Not Found')],
    ['405', answers(405, { detail: 'Method Not Allowed' })],
    ['an error inside 200', answers(200, { error: 'Unexpected endpoint or method.' })],
  ])('without /v1 is named with %s', async (_, behaviour) => {
    const server = await judgeServer(behaviour);
    const address = server.url.replace('/v1', '');
    expect(await reasonAt(address)).toContain(
      `; the address ${address} may lack its end: try ${address}/v1.`,
    );
  });

  test('of a page is named', async () => {
    const { url } = await judgeServer(notJson);
    expect(await reasonAt(url)).toContain(`The server at ${url} answered with no chat completion`);
  });

  test('with /v1 is not said to lack it', async () => {
    const { url } = await judgeServer(fails(404, { message: 'no such model' }));
    expect(await reasonAt(url)).toContain("; check the model's name and the address.");
  });

  test.each(['/chat/completions', '/chat/completions/', '/'])('may end in %s', async (end) => {
    const server = await judgeServer(notJson);
    await reasonAt(`${server.url}${end}`);
    expect(server.requests[0]!.path).toBe('/v1/chat/completions');
  });
});
