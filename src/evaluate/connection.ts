import { messageOf } from '../errors.js';

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
export function whyNotReached(error: unknown, endpoint: string, env = process.env): string {
  const { message, code } = rootOf(error);
  const known =
    message === 'bad port'
      ? 'fetch refuses this port, which is known for another service: serve on another'
      : ADVICE.find(([pattern]) => pattern.test(code))?.[1];
  const advice = known ?? 'check the address and that the server runs';
  return `(${message}): ${advice}${proxyNote(endpoint, env)}`;
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

/** That a proxy is set which fetch does not use; its address, which may hold a password, is not shown. */
export function proxyNote(
  endpoint: string,
  env: NodeJS.ProcessEnv = process.env,
  version: string = process.versions.node,
): string {
  const { protocol, hostname } = new URL(endpoint);
  if (/^(?:localhost|127\.\d+\.\d+\.\d+|\[::1\])$/.test(hostname)) return '';
  const name = protocol === 'https:' ? 'HTTPS_PROXY' : 'HTTP_PROXY';
  const variable = [name, name.toLowerCase(), 'ALL_PROXY', 'all_proxy'].find((key) => env[key]);
  if (variable === undefined) return '';
  const [major = 0, minor = 0] = version.split('.').map(Number);
  const able = major >= 24 || (major === 22 && minor >= 21);
  if (able && env.NODE_USE_ENV_PROXY === '1' && !/^all_/i.test(variable)) return '';
  return `; ${variable} is set, but not used: Node uses ${name} from 22.21 and 24.0 on, where NODE_USE_ENV_PROXY=1 is set too`;
}
