// What the engine costs beside a batch, and what a prompt costs those that run: node bench/serve/engine.mjs [MODEL]
// Needs `npm run build`. Prints medians of ROUNDS rounds.
import { loadModel, openEngine } from '../../dist/src/index.js';
import { defaultModelDir } from '../../dist/src/runtime/paths.js';

const ROUNDS = 5;
const TOKENS = 48;
const model = await loadModel(process.argv[2] ?? defaultModelDir());
const engine = await openEngine(model, { places: 8, context: Math.min(model.maxContext, 1536) });

const say = (line) => process.stdout.write(`${line}\n`);
const medianOf = (values) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];
const repeated = async (body) => {
  const values = [];
  for (let round = 0; round < ROUNDS; round++) values.push(await body(round));
  return medianOf(values);
};
const request = (seed, more = {}) => ({
  query: `How do I comfort friend number ${seed}, who failed an exam?`,
  core: 'empathy',
  seed,
  maxTokens: TOKENS,
  ignoreEos: true,
  ...more,
});
/** A query of about so many tokens that begins like no other. */
const longQuery = (tokens, seed) => `${seed}: ${'word '.repeat(tokens - 60)}What is this about?`;

async function finish(answer, onStep = () => {}) {
  for (;;) {
    const { value, done } = await answer.next();
    if (done) return value;
    onStep(value);
  }
}

async function timed(body) {
  const since = performance.now();
  await body();
  return performance.now() - since;
}

async function single() {
  const ratio = await repeated(async () => {
    const alone = (await finish(model.generate(request(0)))).timing.decodeMs;
    return alone / (await finish(engine.generate(request(0)))).timing.decodeMs;
  });
  say(`one client: ${ratio.toFixed(2)} of the speed of generate`);
}

async function eight() {
  const ratio = await repeated(async (round) => {
    const requests = Array.from({ length: 8 }, (_, i) => request(10 * round + i));
    const batch = await timed(async () => {
      for await (const _ of model.generateBatch(requests));
    });
    return (
      batch /
      (await timed(() => Promise.all(requests.map((each) => finish(engine.generate(each))))))
    );
  });
  say(`8 clients at once: ${ratio.toFixed(2)} of the speed of generateBatch`);
}

async function pauses() {
  const found = await repeated(async (round) => {
    const stamps = [];
    const long = request(100 + round, { maxTokens: 400 });
    const running = finish(engine.generate(long), () => stamps.push(performance.now()));
    while (stamps.length < 40) await new Promise((resolve) => setTimeout(resolve, 5));
    const gaps = (times) => times.slice(1).map((time, i) => time - times[i]);
    const step = medianOf(gaps(stamps.slice(5)));
    const from = performance.now();
    const coming = engine.generate(request(round, { query: longQuery(1000, round), maxTokens: 1 }));
    await finish(coming);
    const until = performance.now();
    await running;
    return Math.max(...gaps(stamps.filter((time) => time >= from && time <= until))) / step;
  });
  say(`while a 1,000-token prompt comes in: the longest pause is ${found.toFixed(1)} steps`);
}

async function forks() {
  const ratio = await repeated(async (round) => {
    const asked = (mark) =>
      request(200, { query: longQuery(500, `${mark}${round}`), maxTokens: 32 });
    const prefill = await timed(() => finish(engine.generate({ ...asked('a'), maxTokens: 1 })));
    const seeds = [1, 2, 3, 4, 5, 6, 7, 8];
    const stamps = [];
    const whole = await timed(async () => {
      const answers = await engine.answers(asked('b'), seeds);
      await Promise.all(answers.map((each) => finish(each, () => stamps.push(performance.now()))));
    });
    const steps = stamps.at(-1) - stamps[0];
    return whole / (prefill + steps);
  });
  say(`8 answers of a 500-token prompt: ${ratio.toFixed(2)} of one prefill and the steps`);
}

for (const measure of [single, eight, pauses, forks]) await measure();
await engine.close();
model.dispose();
