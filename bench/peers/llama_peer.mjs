/** llama.cpp through node-llama-cpp, as a worker of run.mjs: `node llama_peer.mjs PACKAGE FILE.gguf THREADS`. */
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { serve } from './lines.mjs';
import { drawToken } from './sda_step.mjs';

const [packageDir, file, threads] = process.argv.slice(2);
const CONTEXT = 1024;

const { getLlama, LlamaLogLevel } = await import(
  pathToFileURL(join(packageDir, 'dist', 'index.js'))
);
const llama = await getLlama({
  gpu: false,
  build: 'never',
  skipDownload: true,
  logLevel: LlamaLogLevel.error,
  maxThreads: Number(threads),
});
const model = await llama.loadModel({ modelPath: file });
const context = await model.createContext({
  sequences: 2,
  contextSize: CONTEXT,
  batchSize: CONTEXT,
  threads: { ideal: Number(threads), min: Number(threads) },
});
const sequences = [context.getSequence(), context.getSequence()];

/**
 * Decodes with one or two sequences; their tokens of a step go through llama.cpp as one batch.
 *
 * @param next what llama.cpp hands out for the last token of each sequence
 * @param choose from that to the token which all sequences take
 */
async function decode(prompts, tokens, next, choose) {
  const used = sequences.slice(0, prompts.length);
  for (const sequence of used) await sequence.clearHistory();
  const evaluate = async (inputs) => {
    const outputs = await Promise.all(
      used.map((sequence, index) =>
        sequence.controlledEvaluate([
          ...inputs[index].slice(0, -1),
          [inputs[index].at(-1), { generateNext: next }],
        ]),
      ),
    );
    return choose(outputs.map((output) => output.at(-1).next));
  };
  const start = performance.now();
  const ids = [await evaluate(prompts)];
  const first = performance.now();
  while (ids.length < tokens) ids.push(await evaluate(used.map(() => [ids.at(-1)])));
  return { prefill_ms: first - start, decode_ms: performance.now() - first, ids };
}

const ownSampler = ({ greedy, seed }) => ({
  token: true,
  options: greedy ? { temperature: 0 } : { temperature: 0.6, topP: 0.95, topK: 0, seed },
});

await serve(`node-llama-cpp, llama.cpp ${llama.llamaCppRelease.release}, ${threads} threads`, {
  single: (request) =>
    decode([request.base], request.tokens, ownSampler(request), ([next]) => next.token),
  'two-sequences': (request) =>
    decode(
      [request.base, request.instructed],
      request.tokens,
      ownSampler(request),
      ([, instructed]) => instructed.token,
    ),
  sda: (request) => {
    const draw = drawToken(request);
    return decode(
      [request.base, request.instructed],
      request.tokens,
      { logits: true },
      ([base, instructed]) => draw(base.logits, instructed.logits),
    );
  },
  prefill: (request) =>
    decode([request.instructed], 1, ownSampler(request), ([next]) => next.token),
});
