/**
 * SDA decoding here, in PyTorch with transformers and in llama.cpp, side by side: the same prompts, lengths and
 * threads, every way of decoding in turn, one joint table. Needs `npm run setup` and the default model; see
 * bench/README.md.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { cpuThreads, describeEnvironment } from '../../dist/src/bench/environment.js';
import { toSnakeCase } from '../../dist/src/bench/report.js';
import { median, summarise, summariseRatios } from '../../dist/src/bench/statistics.js';
import { defaultModelDir, packageRoot } from '../../dist/src/runtime/paths.js';
import { Worker } from './lines.mjs';
import { ggufFile, llamaPackage, pythonPath } from './setup.mjs';
import { decodeTable, prefillTable } from './table.mjs';

const HERE = fileURLToPath(new URL('.', import.meta.url));
const LONG_PROMPT = 512;
const WARM_UP_TOKENS = 8;
/** Loops that should draw the same greedy tokens. */
const DOES_SDA = new Set(['sda', 'authors', 'batched', 'hand-tuned', 'compiled-tuned']);
/** Between runs: lets the threads of the one before come to rest. */
const PAUSE_MS = 300;
/** What each system calls a type of weights, and the loops that PyTorch has for it. */
const DTYPES = {
  f32: { own: 'float32', gguf: 'f32', torch: ['authors', 'batched', 'hand-tuned', 'prefill'] },
  bf16: { own: 'bfloat16', gguf: 'bf16', torch: ['authors', 'batched', 'hand-tuned', 'prefill'] },
  int8: { own: 'int8', gguf: 'q8_0', torch: ['hand-tuned', 'prefill'] },
  int4: { own: 'int4', gguf: 'q4_0', torch: [] },
};
const READY_SECONDS = 180;
const RUN_SECONDS = 300;

const { values: options } = parseArgs({
  options: {
    model: { type: 'string', default: defaultModelDir() },
    tokens: { type: 'string', default: '64' },
    repeats: { type: 'string', default: '5' },
    dtypes: { type: 'string', default: Object.keys(DTYPES).join(',') },
    only: { type: 'string', default: '' },
    compile: { type: 'boolean', default: false },
    out: { type: 'string', default: join(packageRoot(), 'bench', 'results', 'peers.json') },
    help: { type: 'boolean', short: 'h', default: false },
  },
});
const HELP = `node bench/peers/run.mjs [options]
  --model DIR     Llama-architecture Hugging Face folder (default: the default model)
  --tokens N      tokens a run (default 64)
  --repeats N     measured rounds (default 5)
  --dtypes LIST   of f32, bf16, int8 and int4 (default all). 8 bits: a scale for 32 weights here and in llama.cpp (Q8_0),
                  one a row in PyTorch; 4 bits: for 32 here and in llama.cpp (Q4_0), embedding and head in 8
  --only TEXT     only peers whose name holds TEXT, beside this project: torch, llama
  --compile       torch.compile of the hand-tuned loop as well: minutes of compiling
  --out FILE      where the JSON goes (default bench/results/peers.json)
Environment: SDA_PEERS_PYTHON (an interpreter with requirements.txt installed), SDA_CACHE_DIR,
TF_NUM_INTRAOP_THREADS (threads, of all systems; default: all cores).
`;

const say = (text) => process.stderr.write(`${text}\n`);

/** What runs, and in which loops; each is one worker. */
function peers(dtype, threads, python, modelDir) {
  const { own: name, gguf, torch: torchLoops } = DTYPES[dtype];
  const torch = (loops) => ({
    dtype,
    threads,
    loops,
    start: async () =>
      new Worker(await python(), [join(HERE, 'torch_peer.py'), modelDir, name, `${threads}`]),
  });
  const llama = (count) => ({
    name: `llama-${count}`,
    system: 'llama.cpp',
    dtype,
    threads: count,
    loops: ['sda', 'two-sequences', 'single', ...(count === threads ? ['prefill'] : [])],
    start: async () => {
      const file = await ggufFile(await python(), modelDir, gguf, say);
      return new Worker('node', [
        join(HERE, 'llama_peer.mjs'),
        await llamaPackage(say),
        file,
        `${count}`,
      ]);
    },
  });
  return [
    {
      name: 'sda-tfjs',
      system: 'this project',
      dtype,
      threads,
      loops: ['sda', 'plain', 'prefill'],
      start: async () =>
        new Worker('node', [join(HERE, 'sda_peer.mjs'), modelDir, name, `${LONG_PROMPT}`]),
    },
    ...(torchLoops.length > 0 ? [{ name: 'torch', system: 'PyTorch', ...torch(torchLoops) }] : []),
    ...(options.compile && torchLoops.length > 0
      ? [{ name: 'torch-compile', system: 'PyTorch', ...torch(['compiled-tuned']) }]
      : []),
    ...[...new Set([threads, 1])].map(llama),
  ];
}

/** Starts the workers; one that does not start is said so, and left out. */
async function start(wanted) {
  const running = [];
  for (const peer of wanted) {
    let worker = null;
    try {
      worker = await peer.start();
      const { version } = await worker.ready(READY_SECONDS);
      say(`ready: ${peer.name} ${peer.dtype} (${version})`);
      running.push({ ...peer, worker, version });
    } catch (error) {
      worker?.stop();
      say(`left out: ${peer.name} ${peer.dtype}: ${error.message}`);
      failures.push({ peer: peer.name, dtype: peer.dtype, reason: error.message });
    }
  }
  return running;
}

const failures = [];

/** One row of results for each loop of each peer, greedy and sampled. */
function rowsOf(running) {
  return running.flatMap((peer) =>
    peer.loops.flatMap((loop) =>
      (loop === 'prefill' ? [true] : [true, false]).map((greedy) => ({
        peer,
        loop,
        greedy,
        runs: [],
      })),
    ),
  );
}

async function runOnce(row, prompts, tokens) {
  const { peer, loop, greedy } = row;
  const pair = loop === 'prefill' ? prompts.long : prompts.short;
  await sleep(PAUSE_MS);
  return peer.worker.ask({ loop, ...pair, tokens, greedy, seed: 0 }, RUN_SECONDS);
}

async function measure(rows, prompts, tokens, repeats) {
  for (let round = 0; round <= repeats; round++) {
    say(round === 0 ? 'warming up' : `round ${round} of ${repeats}`);
    for (const row of rows.filter(({ failed }) => !failed)) {
      try {
        const run = await runOnce(row, prompts, round === 0 ? WARM_UP_TOKENS : tokens);
        if (round > 0) row.runs.push(run);
      } catch (error) {
        row.failed = true;
        const { name, dtype } = row.peer;
        say(`left out: ${name} ${dtype}, ${row.loop}: ${error.message}`);
        failures.push({ peer: name, dtype, loop: row.loop, reason: error.message });
      }
    }
  }
  return rows.filter(({ failed }) => !failed);
}

/** Numbers of a row, with this project's row of the same dtype and draw to compare with. */
function results(row, rows) {
  const { peer, loop, greedy, runs } = row;
  const own = rows.find(
    (other) =>
      other.peer.name === 'sda-tfjs' &&
      other.loop === (loop === 'prefill' ? 'prefill' : 'sda') &&
      other.greedy === greedy &&
      other.peer.dtype === peer.dtype,
  );
  const perStep = ({ decode_ms, ids }) => decode_ms / (ids.length - 1);
  const time = loop === 'prefill' ? ({ prefill_ms }) => prefill_ms : perStep;
  return {
    system: peer.system,
    version: peer.version,
    loop,
    dtype: peer.dtype,
    threads: peer.threads,
    greedy,
    prefillMs: summarise(runs.map(({ prefill_ms }) => prefill_ms)),
    ...(loop !== 'prefill' && {
      stepMs: summarise(runs.map(perStep)),
      tokensPerSecond: summarise(runs.map((run) => 1000 / perStep(run))),
    }),
    /** How many times faster this project is, of runs side by side */
    ratio: own ? summariseRatios(runs.map(time), own.runs.map(time)) : null,
    /** Leading tokens in common with this project's SDA; null where the loop does no SDA */
    agreement:
      own && DOES_SDA.has(loop)
        ? median(runs.map((run, i) => common(run.ids, own.runs[i].ids)))
        : null,
  };
}

function common(a, b) {
  const different = a.findIndex((id, index) => id !== b[index]);
  return different < 0 ? a.length : different;
}

async function main() {
  const [tokens, repeats] = [Number(options.tokens), Number(options.repeats)];
  if (!(Number.isInteger(tokens) && tokens > 1 && Number.isInteger(repeats) && repeats > 0)) {
    throw new Error('--tokens must be a whole number above 1, --repeats one above 0');
  }
  const dtypes = options.dtypes.split(',');
  if (!dtypes.every((dtype) => Object.hasOwn(DTYPES, dtype))) {
    const known = Object.keys(DTYPES).join(', ');
    throw new Error(`--dtypes must list some of ${known}, but is "${options.dtypes}"`);
  }
  const modelDir = resolve(options.model);
  const threads = cpuThreads();
  for (const name of ['OMP_NUM_THREADS', 'TF_NUM_INTRAOP_THREADS'])
    process.env[name] = `${threads}`;
  let environment;
  let found;
  const python = () => (found ??= pythonPath(say));
  const running = await start(
    dtypes
      .flatMap((dtype) => peers(dtype, threads, python, modelDir))
      .filter(({ name }) => name === 'sda-tfjs' || name.includes(options.only)),
  );
  try {
    const own = running.find(({ name }) => name === 'sda-tfjs');
    if (!own) throw new Error('this project itself does not run: see above');
    const prompts = await own.worker.ask({ loop: 'prompts' }, RUN_SECONDS);
    const rows = await measure(rowsOf(running), prompts, tokens, repeats);
    environment = await describeEnvironment();
    const report = {
      ...environment,
      model: modelDir,
      tokens,
      repeats,
      prompts: { base: prompts.short.base.length, instructed: prompts.short.instructed.length },
      longPrompts: { base: prompts.long.base.length, instructed: prompts.long.instructed.length },
      rows: rows.map((row) => results(row, rows)),
      failures,
    };
    mkdirSync(dirname(resolve(options.out)), { recursive: true });
    writeFileSync(options.out, `${JSON.stringify(toSnakeCase(report), null, 1)}\n`);
    process.stdout.write(`${decodeTable(report)}\n\n${prefillTable(report)}\n`);
    say(`every sample is in ${options.out}`);
  } finally {
    for (const { worker } of running) worker.stop();
  }
}

if (options.help) process.stdout.write(HELP);
else {
  try {
    await main();
  } catch (error) {
    say(`error: ${error.message}`);
    process.exitCode = 1;
  }
}
