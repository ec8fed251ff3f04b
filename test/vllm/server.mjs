/** A vLLM server with sda-vllm on this machine's CPU, and a proxy before it that cuts and delays connections. */
import { spawn } from 'node:child_process';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';

const START_MS = 1_200_000; // a minute on a machine that does nothing else
const WITH_SDA = [
  ...['--logprobs-mode', 'processed_logits'],
  ...['--logits-processors', 'sda_vllm.processor:SdaLogitsProcessor'],
  ...['--scheduler-cls', 'sda_vllm.scheduler.SdaScheduler'],
];

/** A server that is started, killed and started again. */
export class Vllm {
  /** @param options python, model (folder), port, log (file), more (arguments of vLLM), env, plugin (false: without) */
  constructor(options) {
    this.options = options;
    this.child = null;
  }

  get url() {
    return `http://127.0.0.1:${this.options.port}/v1`;
  }

  /** Starts it, and waits until it answers. */
  async start() {
    const { python, model, port, log, more = [], env = {}, plugin = true } = this.options;
    if (await this.answers()) throw new Error(`another server answers at ${this.url}`);
    const output = openSync(log, 'a');
    const args = ['-m', 'vllm.entrypoints.openai.api_server', '--model', model];
    args.push('--served-model-name', 'model', '--host', '127.0.0.1', '--port', String(port));
    args.push('--dtype', 'float32', '--max-model-len', '1024');
    // uncompiled it starts sooner; pipeline ranks of a CPU cannot
    if (!more.includes('--pipeline-parallel-size')) args.push('--enforce-eager');
    if (plugin) args.push(...WITH_SDA);
    args.push(...more);
    this.child = spawn(python, args, {
      detached: true, // a group of its own, which ends as a whole
      stdio: ['ignore', output, output],
      env: {
        VLLM_CPU_KVCACHE_SPACE: '1',
        HF_HUB_OFFLINE: '1',
        VLLM_NO_USAGE_STATS: '1',
        ...(plugin && { VLLM_PLUGINS: 'sda' }),
        PYTHONDONTWRITEBYTECODE: '1',
        ...process.env,
        ...env,
      },
    });
    closeSync(output);
    const { child } = this;
    const until = Date.now() + START_MS;
    while (Date.now() < until && child.exitCode === null) {
      if (await this.answers()) return;
      await pause(500);
    }
    this.kill();
    throw new Error(`vLLM did not start:\n${readFileSync(log, 'utf8').slice(-3000)}`);
  }

  async answers() {
    const signal = AbortSignal.timeout(10_000);
    const there = await fetch(`${this.url.slice(0, -3)}/health`, { signal }).catch(() => null);
    return there?.ok === true;
  }

  /** Requests that had to give way since it was started. */
  async preemptions() {
    const response = await fetch(`${this.url.slice(0, -3)}/metrics`);
    const found = /^vllm:num_preemptions_total\{.*\} (\S+)$/m.exec(await response.text());
    return Number(found?.[1]);
  }

  /** Ends it and its workers at once, as a power cut does. */
  kill() {
    if (this.child?.pid === undefined) return;
    try {
      process.kill(-this.child.pid, 'SIGKILL');
    } catch {} // it has ended by itself
    this.child = null;
  }
}

/**
 * Passes connections on; `cut` and `delay` (milliseconds) are asked for each, `onCut` and `onLate` tell of each that is cut,
 * and of each that was delayed and is answered.
 */
export async function proxyTo(port, { cut, onCut, delay, onLate }) {
  const server = createServer(async (near) => {
    near.on('error', () => {});
    const after = cut(); // bytes of answers after which the connection breaks; null: it does not
    const late = delay();
    await pause(late);
    const far = connect(port, '127.0.0.1');
    if (late > 0) far.once('data', onLate);
    far.on('error', () => near.destroy());
    near.on('close', () => far.destroy());
    far.on('close', () => near.destroy());
    let passed = 0;
    far.on('data', (part) => {
      passed += part.length;
      if (after === null || passed <= after) return near.write(part);
      if (!near.destroyed) onCut();
      return near.destroy();
    });
    near.on('data', (part) => far.write(part));
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  return { url: `http://127.0.0.1:${server.address().port}/v1`, close: () => server.close() };
}
