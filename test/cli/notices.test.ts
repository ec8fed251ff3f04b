import { afterEach, describe, expect, it, vi } from 'vitest';
import { checkpointDir } from '../support/checkpoints.js';
import { sda } from '../support/cli.js';

const GENERATE = [
  ...['generate', '--model', checkpointDir('tiny-llama'), '--dtype', 'float32'],
  ...['--base-ids', '1 2 3', '--instructed-ids', '1 2 3 4', '--max-tokens', '2', '--ignore-eos'],
];
const OWN_LINE = /^2 tokens \| .* \| cut at --max-tokens\n$/;

/** What reaches stderr with these environment variables, whatever this process has of them. */
async function stderrWith(
  env: Readonly<Record<string, string>>,
  options: readonly string[] = [],
): Promise<string> {
  for (const name of ['TF_ENABLE_ONEDNN_OPTS', 'TF_CPP_MIN_LOG_LEVEL']) {
    vi.stubEnv(name, env[name]);
  }
  const { code, stderr } = await sda([...GENERATE, ...options], { env });
  expect(code).toBe(0);
  return stderr;
}

afterEach(() => {
  vi.unstubAllEnvs();
});

describe('stderr has the own line of sda alone', () => {
  // where it is unset, the processor decides
  it.each([undefined, '0', '1'])('with TF_ENABLE_ONEDNN_OPTS %s', async (onednn) => {
    const env = onednn === undefined ? {} : { TF_ENABLE_ONEDNN_OPTS: onednn };
    expect(await stderrWith(env)).toMatch(OWN_LINE);
  });

  it('where operations of tfjs run, which call what Node deprecates', async () => {
    expect(await stderrWith({ SDA_KERNELS: 'reference' })).toMatch(OWN_LINE);
  });
});

describe('--debug', () => {
  it('shows the notices of TensorFlow too', async () => {
    const stderr = await stderrWith({ TF_ENABLE_ONEDNN_OPTS: '1' }, ['--debug']);
    expect(stderr).toContain('oneDNN custom operations are on');
    expect(stderr).toMatch(/\n2 tokens \| .*\n$/);
  });

  it('leaves a log level that the user has set', async () => {
    const env = { TF_ENABLE_ONEDNN_OPTS: '1', TF_CPP_MIN_LOG_LEVEL: '3' };
    const stderr = await stderrWith(env, ['--debug']);
    // Node's own warnings, of the versions that have some, are what --debug shows as well
    const others = stderr.replace(/^\(node:\d+\) .*\n|^\(Use `.*`.*\)\n/gm, '');
    expect(others).toMatch(OWN_LINE);
  });
});
