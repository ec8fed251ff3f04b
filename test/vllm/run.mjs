/**
 * A real vLLM on this machine's CPU, held to this package's own engine: npm run test:vllm [-- --ranks]
 *
 * --ranks: two pipeline ranks and three tensor ranks instead, in turn.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { openModel } from '../../dist/src/index.js';
import { defaultModelDir, packageRoot } from '../../dist/src/runtime/paths.js';
import { runProcess } from '../../dist/src/setup/process.js';
import { pythonWithVllm } from './install.mjs';
import { answered, answeredTogether, difference, requestsOf, WAYS } from './queries.mjs';
import { proxyTo, Vllm } from './server.mjs';

const PORT = Number(process.env.SDA_VLLM_PORT ?? 8113);
/** So few blocks of 32 tokens that eight pairs do not fit */
const SMALL_CACHE = ['--block-size', '32', '--num-gpu-blocks-override', '36'];
const SMALL_BUDGET = ['--max-num-batched-tokens', '96', '--max-num-seqs', '24'];
const DISTURBANCES = 50;

const say = (line) => process.stdout.write(`${line}\n`);
const begun = Date.now();
const counts = { passed: 0, failed: 0 };

function check(name, wrong) {
  if (wrong === '') counts.passed++;
  else counts.failed++;
  const seconds = Math.round((Date.now() - begun) / 1000);
  say(
    `${wrong === '' ? 'ok' : 'NOT OK'} ${name}${wrong === '' ? '' : `: ${wrong}`} (${seconds} s)`,
  );
}

/** Answers of all queries, alone or at once, against this machine's. */
async function hold(name, remote, expected, { together, ways = Object.keys(WAYS) }) {
  const asked = ways.flatMap((way) =>
    requestsOf(way).map((request, index) => ({ way, index, request })),
  );
  const one = async ({ way, index, request }) => {
    const wrong = await answered(remote, request).then(
      (found) => difference(found, expected[way][index]),
      (error) => error.message,
    );
    check(`${name}: ${way} ${index}`, wrong);
  };
  if (together) await Promise.all(asked.map(one));
  else for (const each of asked) await one(each);
}

/** Late partners, cut connections and one kill of the server, while eight and more answers run. */
async function disturb(vllm, dir, expected) {
  let met = 0;
  let on = false;
  const random = generator(5);
  const proxy = await proxyTo(PORT, {
    cut: () => {
      if (!on || random() > 0.35) return null;
      met++;
      return Math.floor(300 + random() * 30_000);
    },
    delay: () => {
      if (!on || random() > 0.3) return 0;
      met++;
      return random() * 800;
    },
  });
  const engine = { kind: 'vllm', baseUrl: proxy.url, patienceS: 600 };
  const remote = await openModel(dir, { engine });
  on = true;
  const killed = (async () => {
    await pause(6000);
    vllm.kill();
    met++;
    await vllm.start();
  })();
  for (let round = 0; met < DISTURBANCES || round < 1; round++) {
    await hold(`disturbed ${round}`, remote, expected, { together: true });
  }
  await killed;
  check(`${met} disturbances`, met >= DISTURBANCES ? '' : 'too few');
  proxy.close();
  remote.dispose();
}

/** The same numbers in every run. */
function generator(seed) {
  let state = seed;
  return () => {
    state = (state * 48271) % 2147483647;
    return state / 2147483647;
  };
}

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
async function parts(python, dir) {
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

/** This machine's own answers, by way. */
async function references(dir, ways) {
  const local = await openModel(dir, { dtype: 'float32' });
  const expected = {};
  for (const way of ways) expected[way] = await answeredTogether(local, requestsOf(way));
  local.dispose();
  return expected;
}

/** One process, with a cache that is too small for all. */
async function alone({ python, dir, server }) {
  const vllm = server('one', [...SMALL_CACHE, ...SMALL_BUDGET]);
  const starting = vllm.start();
  starting.catch(() => {});
  await parts(python, dir);
  const expected = await references(dir, Object.keys(WAYS));
  await starting;
  const remote = await openModel(dir, { engine: { kind: 'vllm', baseUrl: vllm.url } });
  await hold('alone', remote, expected, { together: false });
  await hold('at once', remote, expected, { together: true });
  remote.dispose();
  await disturb(vllm, dir, expected);
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
    const vllm = server(name.replaceAll(' ', '-'), more, env);
    const starting = vllm.start();
    starting.catch(() => {});
    expected ??= await references(dir, ways);
    await starting;
    const remote = await openModel(dir, { engine: { kind: 'vllm', baseUrl: vllm.url } });
    await hold(name, remote, expected, { together: true, ways });
    remote.dispose();
    vllm.kill();
  }
}

async function main() {
  const dir = defaultModelDir();
  const python = await pythonWithVllm(say);
  const folder = mkdtempSync(join(tmpdir(), 'sda-vllm-'));
  const servers = [];
  const server = (name, more, env) => {
    const log = join(folder, `${name}.log`);
    servers.push(new Vllm({ python, model: dir, port: PORT, log, more, env }));
    return servers.at(-1);
  };
  process.on('exit', () => {
    for (const each of servers) each.kill();
  });
  for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(1));
  await (process.argv.includes('--ranks') ? ranks : alone)({ python, dir, server });
  rmSync(folder, { recursive: true, force: true });
}

try {
  await main();
} catch (error) {
  check('the trial', error.stack ?? String(error));
}
say(`${counts.passed} passed, ${counts.failed} failed`);
process.exit(counts.failed > 0 ? 1 : 0);
