import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { OpenAiEvaluator } from '../../src/evaluate/openai.js';
import { proxyFor } from '../../src/evaluate/proxy.js';
import { packageRoot } from '../../src/runtime/paths.js';
import { sda } from '../support/cli.js';
import { INPUT, type JudgeServer, judgeServer, KEY, says } from '../support/judge-server.js';
import { proxyServer, tlsServer, UNUSED_PORT } from '../support/proxy-server.js';
import { errorOf } from '../support/tensorflow.js';

const NAMES = ['HTTPS_PROXY', 'HTTP_PROXY', 'NO_PROXY', 'ALL_PROXY'];
const USER = 'me:sekrit%20word'; // with a space
const BASIC = `Basic ${Buffer.from('me:sekrit word').toString('base64')}`;

beforeEach(() => {
  vi.stubEnv('OPENAI_API_KEY', KEY);
  for (const name of NAMES) {
    vi.stubEnv(name, undefined);
    vi.stubEnv(name.toLowerCase(), undefined);
  }
});
afterEach(() => {
  vi.unstubAllEnvs();
});

const portOf = ({ url }: JudgeServer) => Number(new URL(url).port);

/** The score, or the kind and reason of the failure. */
async function scoreAt(baseURL: string): Promise<number | string> {
  const evaluator = new OpenAiEvaluator({ baseURL, maxRetries: 0, reasks: 0, structured: false });
  const scored = await evaluator.score(INPUT);
  return scored.status === 'failed' ? `${scored.kind}: ${scored.reason}` : scored.score;
}

describe('a server is asked by way of the proxy', () => {
  test.each(['HTTP_PROXY', 'http_proxy'])('that %s names, for http', async (variable) => {
    const server = await judgeServer(says('{"score": 85}'));
    const proxy = await proxyServer(portOf(server));
    vi.stubEnv(variable, `http://${USER}@127.0.0.1:${proxy.port}`);
    expect(await scoreAt('http://judge.invalid/v1')).toBe(85);
    expect(await scoreAt('http://judge.invalid/v1')).toBe(85);
    const line = 'POST http://judge.invalid/v1/chat/completions';
    expect(proxy.asked).toEqual([line, line]);
    expect(proxy.authorizations).toEqual([BASIC, BASIC]);
    expect(server.requests[0]!.headers.authorization).toBe(`Bearer ${KEY}`);
  });

  test.each(['HTTPS_PROXY', 'https_proxy'])('that %s names, for https', async (variable) => {
    const proxy = await proxyServer(0, 502);
    vi.stubEnv(variable, `127.0.0.1:${proxy.port}`); // as curl takes it too
    await scoreAt('https://judge.invalid/v1');
    expect(proxy.asked).toEqual(['CONNECT judge.invalid:443']);
    expect(proxy.authorizations).toEqual([undefined]);
  });

  test('over TLS, in a process that says nothing of it', async () => {
    const server = await judgeServer(says('{"score": 85}'));
    const file = (name: string) => join(packageRoot(), 'test', 'fixtures', 'tls', name);
    const identity = {
      key: readFileSync(file('key.pem'), 'utf8'),
      cert: readFileSync(file('cert.pem'), 'utf8'),
    };
    const proxy = await proxyServer(await tlsServer(portOf(server), identity));
    const { query, response, core } = INPUT;
    const { code, stdout, stderr } = await sda(
      [
        ...['score', '--evaluator', 'openai', '--base-url', 'https://judge.invalid/v1'],
        ...['--query', query, '--response', response, '--core', core, '--json'],
      ],
      {
        env: {
          HTTPS_PROXY: `http://${USER}@127.0.0.1:${proxy.port}`,
          NODE_EXTRA_CA_CERTS: file('cert.pem'),
        },
      },
    );
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(JSON.parse(stdout)).toMatchObject({ score: 85 });
    expect(proxy.asked).toEqual(['CONNECT judge.invalid:443']);
    expect(proxy.authorizations).toEqual([BASIC]);
  });
});

describe('a server is asked without the proxy', () => {
  test.each(['judge.invalid', 'x.invalid, judge.invalid:80', '.invalid', '*'])(
    'where NO_PROXY is %j',
    async (except) => {
      const proxy = await proxyServer(0, 502);
      vi.stubEnv('HTTP_PROXY', `http://127.0.0.1:${proxy.port}`);
      vi.stubEnv('NO_PROXY', except);
      expect(await scoreAt('http://judge.invalid/v1')).toMatch(
        /^unreachable: gpt-4\.1 at \S+ cannot be reached \(getaddrinfo/,
      );
      expect(proxy.asked).toEqual([]);
    },
  );

  test('on this machine itself', async () => {
    const server = await judgeServer(says('{"score": 85}'));
    const proxy = await proxyServer(0, 502);
    vi.stubEnv('HTTP_PROXY', `http://127.0.0.1:${proxy.port}`);
    expect(await scoreAt(server.url)).toBe(85);
    expect(await scoreAt(server.url.replace('127.0.0.1', 'localhost'))).toBe(85);
    expect(proxy.asked).toEqual([]);
  });

  test.each<[string, string, NodeJS.ProcessEnv]>([
    ['of the other protocol', 'https://host/v1', { HTTP_PROXY: 'http://p' }],
    ['of the other protocol', 'http://host/v1', { HTTPS_PROXY: 'http://p' }],
    ['that is empty', 'http://host/v1', { HTTP_PROXY: ' ' }],
    ['that is empty in lower case', 'http://host/v1', { http_proxy: '', HTTP_PROXY: 'http://p' }],
  ])('%s', (_, endpoint, env) => {
    expect(proxyFor(endpoint, env)).toBeNull();
  });
});

describe('a proxy that does not serve is named, without its password', () => {
  test.each(['http', 'https'])('where it is not there, for %s', async (protocol) => {
    const port = UNUSED_PORT;
    const variable = `${protocol.toUpperCase()}_PROXY`;
    vi.stubEnv(variable, `http://${USER}@127.0.0.1:${port}`);
    expect(await scoreAt(`${protocol}://judge.invalid/v1`)).toBe(
      `unreachable: gpt-4.1 at ${protocol}://judge.invalid/v1 through the proxy http://127.0.0.1:${port} cannot be reached (connect ECONNREFUSED 127.0.0.1:${port}): the proxy is not there: correct ${variable}, or name the host of the server in NO_PROXY.`,
    );
  });

  test.each(['http', 'https'])('where it wants a password, for %s', async (protocol) => {
    const proxy = await proxyServer(0, 407);
    vi.stubEnv(`${protocol.toUpperCase()}_PROXY`, `http://${USER}@127.0.0.1:${proxy.port}`);
    const reason = await scoreAt(`${protocol}://judge.invalid/v1`);
    expect(reason).toMatch(
      /through the proxy http:\/\/127\.0\.0\.1:\d+ cannot be reached \(Proxy .*407.*\): the proxy wants a user name and a password: write them into HTTPS?_PROXY, as /,
    );
    expect(reason).not.toMatch(/sekrit/);
  });

  test('where it refuses the server', async () => {
    const proxy = await proxyServer(0, 403);
    vi.stubEnv('HTTPS_PROXY', `http://127.0.0.1:${proxy.port}`);
    expect(await scoreAt('https://judge.invalid/v1')).toContain(
      ': the proxy refuses to connect to the server: ask for its rules',
    );
  });

  test.each(['socks5://me:sekrit@p:1', 'http://', 'http://me:%zz@p'])(
    'where its address is none: %s',
    async (address) => {
      vi.stubEnv('HTTP_PROXY', address);
      const error = await errorOf(() => new OpenAiEvaluator({ baseURL: 'http://host/v1' }));
      expect(error).toMatchObject({
        code: 'bad-input',
        message: expect.stringMatching(/^The environment variable HTTP_PROXY does not hold /),
      });
      expect(String(error)).not.toContain('sekrit');
    },
  );

  test('what it quotes of its password is not shown', async () => {
    const server = await judgeServer((_, response) => {
      response.writeHead(400).end(`You are ${BASIC}, that is me:sekrit word`);
    });
    const proxy = await proxyServer(portOf(server));
    vi.stubEnv('HTTP_PROXY', `http://${USER}@127.0.0.1:${proxy.port}`);
    const reason = await scoreAt('http://judge.invalid/v1');
    expect(reason).toContain('You are Basic [key removed]');
    expect(reason).not.toMatch(/sekrit|bWU6/);
  });
});
