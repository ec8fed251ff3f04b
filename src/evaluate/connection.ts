import { messageOf } from '../errors.js';
import { isLoopback, type UsedProxy } from './proxy.js';

/** What an error of a connection's code means, and what to do. */
const ADVICE: readonly [RegExp, string][] = [
  [/^ECONNREFUSED$/, 'nothing listens there: start the server, or correct the port'],
  [/^ENOTFOUND$/, "the host's name is not known: correct it"],
  [/^EAI_AGAIN$/, "the host's name could not be looked up: correct it, or check the network"],
  [
    /CERT|SELF_SIGNED|UNABLE_TO_VERIFY|UNABLE_TO_GET_ISSUER/,
    'its certificate is not trusted: name the file of the authority that signed it in NODE_EXTRA_CA_CERTS',
  ],
  [/^(?:EPROTO|ERR_SSL_\w+)$/, 'no TLS is spoken there: try an address that begins with http://'],
  [
    /^(?:ECONNRESET|UND_ERR_SOCKET|EPIPE)$/,
    'the connection was closed before the answer: look at what the server says of it',
  ],
];

/** Why a server was not reached, and what to do: without a full stop. */
export function whyNotReached(
  error: unknown,
  { endpoint, proxy }: { endpoint: string; proxy: UsedProxy | null },
  env = process.env,
): string {
  const { message, code } = rootOf(error);
  if (proxy && (PROXY_REFUSES.test(message) || NOT_THERE.test(code))) {
    return `(${message}): ${proxyAdvice(message, proxy)}`;
  }
  const known =
    message === 'bad port'
      ? 'fetch refuses this port, which is known for another service: serve on another'
      : ADVICE.find(([pattern]) => pattern.test(code))?.[1];
  const advice = known ?? 'check the address and that the server runs';
  return `(${message}): ${advice}${proxyNote(endpoint, proxy, env)}`;
}

/** What undici says where a proxy answers with a status other than 200. */
const PROXY_REFUSES = /^Proxy (?:response|Authentication)\b/;
/** By way of a proxy it is the proxy that is not there, or whose name is not known. */
const NOT_THERE = /^(?:ECONNREFUSED|ENOTFOUND|EAI_AGAIN|EHOSTUNREACH|ENETUNREACH)$/;

function proxyAdvice(message: string, { variable }: UsedProxy): string {
  if (message.includes('407')) {
    return `the proxy wants a user name and a password: write them into ${variable}, as http://USER:PASSWORD@HOST:PORT`;
  }
  return PROXY_REFUSES.test(message)
    ? 'the proxy refuses to connect to the server: ask for its rules, or name the host in NO_PROXY'
    : `the proxy is not there: correct ${variable}, or name the host of the server in NO_PROXY`;
}

/** The innermost cause: fetch itself says "fetch failed" of everything. */
function rootOf(error: unknown): { message: string; code: string } {
  let root = error;
  for (let depth = 0; depth < 8; depth++) {
    const { cause, errors } = (root ?? {}) as { cause?: unknown; errors?: readonly unknown[] };
    // one error for each address of a host that has several
    const inner = cause ?? (Array.isArray(errors) ? errors[0] : undefined);
    if (inner === undefined || inner === null) break;
    root = inner;
  }
  const code = String((root as { code?: unknown } | null)?.code ?? '');
  const message = messageOf(root).replace(/\s+/g, ' ').trim() || code;
  return { message: message.slice(0, 300), code };
}

/** That a variable is set which is not used for proxies; its value, which may hold a password, is not shown. */
export function proxyNote(
  endpoint: string,
  proxy: UsedProxy | null,
  env: NodeJS.ProcessEnv = process.env,
): string {
  const { protocol } = new URL(endpoint);
  const variable = ['all_proxy', 'ALL_PROXY'].find((key) => env[key]);
  if (proxy || variable === undefined || isLoopback(endpoint)) return '';
  return `; ${variable} is set, but not used: set ${protocol === 'https:' ? 'HTTPS_PROXY' : 'HTTP_PROXY'}`;
}
