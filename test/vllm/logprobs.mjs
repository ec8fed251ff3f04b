/** The engine `logprobs` over a vLLM without sda-vllm, or over llama.cpp's server: the ids of this machine, drawn here. */
import { openModel, ruleNamed } from '../../dist/src/index.js';
import { check, say } from './checks.mjs';
import { answered, answeredTogether, difference, requestsOf } from './queries.mjs';

const TOKENS = 8;
const QUERIES = 2;

/** Requests of each way, and of a rule that only this machine runs. */
function requests() {
  const asked = ['greedy', 'seeded', 'plain'].flatMap((way) =>
    requestsOf(way, TOKENS)
      .slice(0, QUERIES)
      .map((request, index) => [`${way} ${index}`, request]),
  );
  const rule = ruleNamed('coiecd');
  const { query, core } = requestsOf('greedy')[0];
  return [...asked, ['the rule coiecd', { query, core, rule, seed: 3, maxTokens: TOKENS }]];
}

/** A vLLM of this machine; or the server of a URL, which has the default model in float32. */
export async function logprobs({ dir, server, url }) {
  const vllm = url ? null : server('without-sda', ['--max-logprobs', '-1'], { plugin: false });
  const starting = vllm?.start();
  starting?.catch(() => {});
  const local = await openModel(dir, { dtype: 'float32' });
  const expected = [];
  for (const [, request] of requests()) {
    expected.push(...(await answeredTogether(local, [request])));
  }
  local.dispose();
  await starting;
  if (vllm) check('a vLLM without sda-vllm is refused', await refusal(dir, vllm.url));
  const baseUrl = url ?? vllm.url;
  const remote = await openModel(dir, { engine: { kind: 'logprobs', baseUrl } });
  check('its tokens are those of the folder', remote.warnings.join('; '));
  const begun = performance.now();
  for (const [index, [name, request]] of requests().entries()) {
    const wrong = await answered(remote, request).then(
      (found) => difference(found, expected[index]),
      (error) => error.message,
    );
    check(`log-probabilities: ${name}`, wrong);
  }
  const seconds = (performance.now() - begun) / 1000;
  say(`${((requests().length * TOKENS) / seconds).toFixed(2)} tokens/s`);
  remote.dispose();
  vllm?.kill();
}

/** '' where the engine `vllm` says what is missing. */
async function refusal(dir, baseUrl) {
  try {
    (await openModel(dir, { engine: { kind: 'vllm', baseUrl } })).dispose();
    return 'it is taken for one with it';
  } catch ({ message }) {
    return /runs without sda-vllm/.test(message) ? '' : message;
  }
}
