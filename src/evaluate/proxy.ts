import type { EnvHttpProxyAgent, ProxyAgent } from 'undici';
import { SdaError } from '../errors.js';

/** A proxy that the environment names for a server. */
export interface ProxySettings {
  /** Where it is named, such as "HTTPS_PROXY" */
  readonly variable: string;
  /** With user name and password, where it has them: never shown */
  readonly url: URL;
  /** What `NO_PROXY` says */
  readonly except: string;
}

/** Whether a server is on this machine, which no proxy is asked for. */
export function isLoopback(endpoint: string): boolean {
  return /^(?:localhost|127\.\d+\.\d+\.\d+|\[::1\])$/.test(new URL(endpoint).hostname);
}

/**
 * The proxy for a server: HTTPS_PROXY for https, HTTP_PROXY for http, in lower case first; null where none is set, and
 * for this machine itself.
 *
 * @throws SdaError `bad-input` where the variable does not hold the address of an HTTP proxy
 */
export function proxyFor(endpoint: string, env = process.env): ProxySettings | null {
  const { protocol } = new URL(endpoint);
  const name = protocol === 'https:' ? 'HTTPS_PROXY' : 'HTTP_PROXY';
  const variable = [name.toLowerCase(), name].find((key) => env[key] !== undefined);
  const address = env[variable ?? '']?.trim() ?? '';
  if (variable === undefined || address === '' || isLoopback(endpoint)) return null;
  const whole = address.includes('://') ? address : `http://${address}`;
  const url = URL.canParse(whole) ? new URL(whole) : null;
  if (!url || !/^https?:$/.test(url.protocol) || /%(?![0-9a-f]{2})/i.test(url.href)) {
    throw new SdaError(
      'bad-input',
      `The environment variable ${variable} does not hold the address of an HTTP proxy: give one such as http://proxy.example:3128, or unset it.`,
    );
  }
  return { variable, url, except: env.no_proxy ?? env.NO_PROXY ?? '' };
}

/** What of a proxy's address must not be seen. */
export function proxySecrets({ url }: ProxySettings): string[] {
  const [user, password] = [decodeURIComponent(url.username), decodeURIComponent(url.password)];
  return password === '' ? [] : [password, `${user}:${password}`];
}

/** A proxy that is in use. */
export interface UsedProxy {
  /** Without user name and password */
  readonly address: string;
  readonly variable: string;
}

/** fetch by way of a proxy, made when it is first used. */
export class ProxyFetch {
  private made: Promise<typeof fetch> | null = null;
  /** Whether a connection to the proxy was tried: `NO_PROXY` may except the server */
  private tried = false;

  constructor(private readonly settings: ProxySettings) {}

  /** The proxy without user name and password, and its variable; null where the server is excepted from it. */
  used(): UsedProxy | null {
    const { url, variable } = this.settings;
    return this.tried ? { address: url.origin, variable } : null;
  }

  readonly fetch: typeof fetch = async (input, init) => {
    this.made ??= this.make();
    return (await this.made)(input, init);
  };

  private async make(): Promise<typeof fetch> {
    // its own fetch: that of Node takes the agents of one version of undici only
    const { EnvHttpProxyAgent, Pool, fetch: fetchBy } = await import('undici');
    const { url, except } = this.settings;
    const connections = (origin: string | URL, options: object) => {
      const pool = new Pool(origin, options);
      const tried = () => {
        this.tried = true;
      };
      const toProxy = new URL(origin).origin === url.origin;
      return toProxy ? pool.on('connect', tried).on('connectionError', tried) : pool;
    };
    const options: ProxyAgent.Options & EnvHttpProxyAgent.Options = {
      uri: url.href,
      httpProxy: url.href,
      httpsProxy: url.href,
      noProxy: except,
      proxyTunnel: false, // for http: many proxies connect to port 443 alone
      clientFactory: connections,
      factory: connections,
    };
    const dispatcher = quietly(() => new EnvHttpProxyAgent(options));
    return ((input: string, init: object) =>
      fetchBy(input, { ...init, dispatcher })) as unknown as typeof fetch;
  }
}

/** undici warns of this agent as experimental, once. */
function quietly<T>(work: () => T): T {
  const { emitWarning } = process;
  process.emitWarning = () => {};
  try {
    return work();
  } finally {
    process.emitWarning = emitWarning;
  }
}
