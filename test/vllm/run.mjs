/**
 * A real vLLM on this machine's CPU, held to this package's own engine: npm run test:vllm [-- OPTION]
 *
 * --only alone,together,texts,offline,disturbed: some of the parts
 * --ranks: two pipeline ranks and three tensor ranks instead, in turn
 * --logprobs [URL]: a vLLM without sda-vllm instead, or the server of a URL, by the engine logprobs
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openModel } from '../../dist/src/index.js';
import { defaultModelDir, packageRoot } from '../../dist/src/runtime/paths.js';
import { runProcess } from '../../dist/src/setup/process.js';
import { check, counts, hold, references, say } from './checks.mjs';
import { disturb } from './disturbances.mjs';
import { pythonWithVllm } from './install.mjs';
import { logprobs } from './logprobs.mjs';
import { offline } from './offline.mjs';
import { WAYS } from './queries.mjs';
import { Vllm } from './server.mjs';
import { texts, textsHere } from './texts.mjs';

const PORT = Number(process.env.SDA_VLLM_PORT ?? 8113);
/** So few blocks of 32 tokens that eight pairs do not fit */
const SMALL_CACHE = ['--block-size', '32', '--num-gpu-blocks-override', '36'];
const SMALL_BUDGET = ['--max-num-batched-tokens', '96', '--max-num-seqs', '24'];

/** A script of test/engine/vllm, by the Python that has vLLM. @returns what it prints as JSON, or its last words */
async function script(python, args) {
  const { stdout, stderr } = await runProcess(python, args, {
    cwd: join(packageRoot(), 'test', 'engine', 'vllm'),
    env: {
      ...process.env,
      VLLM_LOGGING_LEVEL: 'ERROR',
      VLLM_CPU_KVCACHE_SPACE: '1',
      PYTHONDONTWRITEBYTECODE: '1',
    },
  });
  const line = stdout.split('\n').find((each) => each.startsWith('['));
  return line === undefined ? stderr.slice(-600) : JSON.parse(line);
}

/** The logits processor under both interfaces, and vLLM's own scheduler under ours, without a model. */
async function withoutModel(python, dir) {
  const wrong = await script(python, ['processor.py']);
  check('the logits processor, Model Runner V1 and V2', String(wrong));
  const forms = await script(python, ['simulate.py', '--runs', '20', '--config', dir]);
  if (typeof forms === 'string') return check('the scheduler, simulated', forms);
  for (const { form, lone, problems, preemptions } of forms) {
    if (form === 'without groups') {
      check('without groups the same arrivals have lone rows', lone > 1000 ? '' : `${lone}`);
      continue;
    }
    const wrong = lone > 0 ? `${lone} lone rows` : problems.join('; ');
    check(`the scheduler, simulated, ${form} (${preemptions} preemptions)`, wrong);
  }
}

/** What one server does for `npm run test:vllm`, in this order; `--only` takes some of them. */
const PARTS = {
  alone: ({ remote, expected }) =>
    hold('alone', remote, expected, { together: false, ways: ['greedy', 'seeded'] }),
  together: ({ remote, expected }) =>
    hold('at once', remote, expected, { together: true, ways: Object.keys(WAYS) }),
  texts: ({ vllm, dir, textsExpected }) => texts(vllm, dir, textsExpected),
  offline: ({ vllm }) => offline(vllm),
  disturbed: ({ vllm, dir, expected }) => disturb({ vllm, dir, expected }),
};

/** One process, with a cache that is too small for all. */
async function one({ python, dir, server, only }) {
  const vllm = server('one', [...SMALL_CACHE, ...SMALL_BUDGET]);
  const starting = vllm.start();
  starting.catch(() => {});
  if (only.length === 0) await withoutModel(python, dir);
  const local = await openModel(dir, { dtype: 'float32' });
  const expected = await references(local);
  const textsExpected = await textsHere(local);
  local.dispose();
  await starting;
  const remote = await openModel(dir, { engine: { kind: 'vllm', baseUrl: vllm.url } });
  for (const [name, part] of Object.entries(PARTS)) {
    if (only.length > 0 && !only.includes(name)) continue;
    await part({ vllm, dir, remote, expected, textsExpected });
  }
  remote.dispose();
  vllm.kill();
}

/** Ranks of this machine; the default model has 9 heads, which two tensor ranks cannot share. */
async function ranks({ dir, server }) {
  const ways = ['greedy', 'seeded'];
  let expected;
  for (const [name, more] of [
    ['three tensor ranks', ['--tensor-parallel-size', '3']],
    ['two pipeline ranks', ['--pipeline-parallel-size', '2']],
  ]) {
    // more ranks than there are nodes of memory to bind them to
    const env = { VLLM_CPU_OMP_THREADS_BIND: 'nobind', OMP_NUM_THREADS: '1' };
    const vllm = server(name.replaceAll(' ', '-'), more, { env });
    const starting = vllm.start();
    starting.catch(() => {});
    if (!expected) {
      const local = await openModel(dir, { dtype: 'float32' });
      expected = await references(local, ways);
      local.dispose();
    }
    await starting;
    const remote = await openModel(dir, { engine: { kind: 'vllm', baseUrl: vllm.url } });
    await hold(name, remote, expected, { together: true, ways });
    remote.dispose();
    vllm.kill();
  }
}

/** Which parts are asked for; none: all. */
function onlyOf(given) {
  const at = given.indexOf('--only');
  const only = at < 0 ? [] : (given[at + 1] ?? '').split(',');
  const unknown = only.find((name) => !(name in PARTS));
  if (unknown === undefined) return only;
  throw new Error(`--only takes ${Object.keys(PARTS).join(', ')}, but not "${unknown}".`);
}

async function main(given) {
  const only = onlyOf(given);
  const dir = defaultModelDir();
  const url = given.includes('--logprobs') ? given[given.indexOf('--logprobs') + 1] : undefined;
  const python = url ? null : await pythonWithVllm(say);
  const folder = mkdtempSync(join(tmpdir(), 'sda-vllm-'));
  const servers = [];
  const server = (name, more, options) => {
    const log = join(folder, `${name}.log`);
    servers.push(new Vllm({ python, model: dir, port: PORT, log, more, ...options }));
    return servers.at(-1);
  };
  process.on('exit', () => {
    for (const each of servers) each.kill();
  });
  for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(1));
  const trial = given.includes('--ranks') ? ranks : given.includes('--logprobs') ? logprobs : one;
  await trial({ python, dir, server, only, url });
  rmSync(folder, { recursive: true, force: true });
}

try {
  await main(process.argv.slice(2));
} catch (error) {
  check('the trial', error.stack ?? String(error));
}
say(`${counts.passed} passed, ${counts.failed} failed`);
process.exit(counts.failed > 0 ? 1 : 0);
