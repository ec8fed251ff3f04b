/** This project, as a worker of run.mjs: `node sda_peer.mjs FOLDER DTYPE PROMPT_TOKENS`. */
import { benchPrompts } from '../../dist/src/bench/prompts.js';
import { loadModel, startTensorFlow } from '../../dist/src/index.js';
import { serve } from './lines.mjs';

const [dir, dtype, longPrompt] = process.argv.slice(2);
const { tensorflow, kernels } = await startTensorFlow();
const model = await loadModel(dir, { dtype });

async function decode({ base, instructed, tokens, greedy, seed }, overrides, singleStream) {
  const answer = model.generate({
    prompts: { baseIds: base, instructedIds: instructed },
    settings: { greedy, ...overrides },
    singleStream,
    maxTokens: tokens,
    seed,
    ignoreEos: true,
  });
  for (;;) {
    const { value, done } = await answer.next();
    if (!done) continue;
    const { timing, tokenIds } = value;
    return { prefill_ms: timing.prefillMs, decode_ms: timing.decodeMs, ids: tokenIds };
  }
}

const ids = ({ baseIds, instructedIds }) => ({ base: baseIds, instructed: instructedIds });

await serve(`sda-tfjs, TensorFlow ${tensorflow}, ${kernels} kernels`, {
  prompts: async () => ({
    short: ids(await benchPrompts(model)),
    long: ids(await benchPrompts(model, Number(longPrompt))),
  }),
  sda: (request) => decode(request, {}, false),
  plain: (request) => decode(request, { mode: 'base' }, true),
  prefill: (request) => decode({ ...request, tokens: 1 }, {}, false),
});
