/**
 * What SDA costs on a vLLM of this machine's CPU: npm run test:vllm:rates [-- --repeats 5]
 *
 * Tokens a second of 8 answers of SDA beside 16 plain rows of the same server, in turn, each its median; a token of an
 * answer is one in two rows, so that half the rate of the plain rows is the limit.
 */
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openModel } from '../../dist/src/index.js';
import { defaultModelDir } from '../../dist/src/runtime/paths.js';
import { INSTRUCTIONS } from '../../dist/src/text/instructions.js';
import { buildPrompt } from '../../dist/src/text/prompts.js';
import { pythonWithVllm } from './install.mjs';
import { answered, requestsOf } from './queries.mjs';
import { Vllm } from './server.mjs';

const at = process.argv.indexOf('--repeats');
const repeats = at < 0 ? 5 : Number(process.argv[at + 1]);
const TOKENS = 64;
const say = (line) => process.stdout.write(`${line}\n`);

const dir = defaultModelDir();
const python = await pythonWithVllm(say);
const log = join(mkdtempSync(join(tmpdir(), 'sda-vllm-')), 'rates.log');
const vllm = new Vllm({ python, model: dir, port: 8114, log });
process.on('exit', () => vllm.kill());
await vllm.start();
const model = await openModel(dir, { engine: { kind: 'vllm', baseUrl: vllm.url } });

/** The prompts of all streams, as rows that have nothing to do with each other. */
async function plainRows() {
  const [tokenizer, template] = [await model.tokenizer(), await model.chatTemplate()];
  const prompts = requestsOf('greedy').flatMap(({ query, core }) =>
    [null, INSTRUCTIONS[core]].map((instruction) => {
      const placement = 'after-query';
      return buildPrompt({ tokenizer, template, query, instruction, placement }).ids;
    }),
  );
  const bodies = prompts.map((prompt) => ({
    model: 'model',
    prompt,
    max_tokens: TOKENS,
    temperature: 0,
    ignore_eos: true,
    stream: true,
  }));
  await Promise.all(
    bodies.map(async (body) => {
      const response = await fetch(`${vllm.url}/completions`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify(body),
      });
      await response.text();
    }),
  );
  return bodies.length * TOKENS;
}

const sda = (way) => async () => {
  const answers = await Promise.all(
    requestsOf(way, TOKENS).map((request) => answered(model, { ...request, ignoreEos: true })),
  );
  return answers.reduce((sum, { ids }) => sum + ids.length, 0);
};

const kinds = { plain: plainRows, greedy: sda('greedy'), 'top-p': sda('seeded') };
const rates = Object.fromEntries(Object.keys(kinds).map((kind) => [kind, []]));
for (let round = -1; round < repeats; round++) {
  for (const [kind, work] of Object.entries(kinds)) {
    const since = performance.now();
    const tokens = await work();
    const rate = tokens / ((performance.now() - since) / 1000);
    if (round >= 0) rates[kind].push(rate); // the first round warms up
  }
}
const median = (values) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];
const half = median(rates.plain) / 2;
say(`plain, 16 rows: ${median(rates.plain).toFixed(1)} tokens/s`);
for (const kind of ['greedy', 'top-p']) {
  const rate = median(rates[kind]);
  const share = Math.round((100 * rate) / half);
  say(
    `SDA ${kind}, 8 answers: ${rate.toFixed(1)} tokens/s, ${share}% of half the plain rows' rate`,
  );
}
model.dispose();
vllm.kill();
process.exit(0);
