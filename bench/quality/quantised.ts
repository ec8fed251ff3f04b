// How far a model with quantised weights is from itself: over a text, the mean of KL(P || P quantised) in nats, the share
// of positions at which both find the same token likeliest, and the change of the text's mean log-probability.
//
//   node dist/bench/quality/quantised.js [--model DIR] [--text FILE] [--tokens N] [int8] [int4]
//
// The text is README.md where none is given.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { type Tensor2D, tidy } from '@tensorflow/tfjs-core';
import { linear } from '../../kernels/linear/index.js';
import { forward } from '../../src/model/decoder.js';
import { KvCache } from '../../src/model/kv-cache.js';
import type { WeightDtype } from '../../src/model/load.js';
import { loadDecoder } from '../../src/model/load-model.js';
import { defaultModelDir, packageRoot } from '../../src/runtime/paths.js';
import { loadTokenizer } from '../../src/text/tokenizer.js';

/** Tokens of a forward: their logits are in memory together. */
const CHUNK = 64;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    model: { type: 'string', default: defaultModelDir() },
    text: { type: 'string', default: join(packageRoot(), 'README.md') },
    tokens: { type: 'string', default: '2000' },
  },
});
const tokenizer = await loadTokenizer(values.model);
const ids = tokenizer.encode(readFileSync(values.text, 'utf8')).slice(0, Number(values.tokens));
const dtypes = (positionals.length > 0 ? positionals : ['int8', 'int4']) as WeightDtype[];
const expected = await logProbabilities('auto');
process.stdout.write(`${ids.length} tokens, ${values.model}\n`);
for (const dtype of dtypes) {
  const { kl, same, change } = compare(expected, await logProbabilities(dtype));
  process.stdout.write(
    `${dtype}: KL ${kl.toFixed(5)} nats a token, same likeliest token ${(100 * same).toFixed(1)}%, log-probability of the text ${change.toFixed(4)} nats a token\n`,
  );
}

/** log P of every token of the vocabulary after each token of the text. */
async function logProbabilities(dtype: WeightDtype): Promise<Float32Array[]> {
  const model = await loadDecoder(values.model, { dtype });
  const { config, weights } = model;
  const cache = new KvCache(config, 1, ids.length, ids.length);
  const rows: Float32Array[] = [];
  for (let from = 0; from < ids.length; from += CHUNK) {
    const some = Int32Array.from(ids.slice(from, from + CHUNK));
    const batch = { ids: some, positions: some.map((_, i) => from + i), rows: Int32Array.of(0) };
    forward(model, batch, cache, {
      logits: 'none',
      onLayer: (layer, x) => {
        if (layer + 1 === config.numLayers) rows.push(...logSoftmax(x));
      },
    });
  }
  cache.dispose();
  model.dispose();
  return rows;

  function logSoftmax(x: Tensor2D): Float32Array[] {
    const norm = { weight: weights.norm, epsilon: config.rmsNormEps };
    const logits = tidy(() =>
      linear({ x, weight: weights.lmHead, norm }).dataSync(),
    ) as Float32Array;
    const V = config.vocabSize;
    return Array.from({ length: x.shape[0] }, (_, i) => {
      const row = logits.slice(i * V, (i + 1) * V);
      const largest = row.reduce((a, b) => Math.max(a, b));
      const sum = row.reduce((total, value) => total + Math.exp(value - largest), 0);
      return row.map((value) => value - largest - Math.log(sum));
    });
  }
}

function compare(p: readonly Float32Array[], q: readonly Float32Array[]) {
  let [kl, same, change] = [0, 0, 0];
  p.forEach((row, i) => {
    const other = q[i]!;
    kl += row.reduce((sum, value, token) => sum + Math.exp(value) * (value - other[token]!), 0);
    same += Number(likeliest(row) === likeliest(other));
    const next = ids[i + 1];
    if (next !== undefined) change += other[next]! - row[next]!;
  });
  return { kl: kl / p.length, same: same / p.length, change: change / (p.length - 1) };
}

function likeliest(row: Float32Array): number {
  return row.reduce((best, value, token) => (value > row[best]! ? token : best), 0);
}
