import { Worker } from 'node:worker_threads';
import { add, ones, slice, sum, type Tensor, type Tensor2D, tidy } from '@tensorflow/tfjs-core';
import { linear } from '../../kernels/linear/index.js';
import { onGpu } from '../runtime/backend.js';
import { median } from './statistics.js';

/** Bytes that a probe reads in one pass: well above the caches. */
const PROBE_BYTES = { cpu: 256 * 2 ** 20, gpu: 2 ** 30 };
/** Passes of a go. A GPU works through them behind one read-back, which would outlast a single one. */
const PASSES = { cpu: 1, gpu: 32 };
/** Goes of each probe a call; the fastest of them counts, the others were disturbed. */
const GOES = 3;
/** Columns of the matrix that the `linear` probe reads. */
const COLUMNS = 4096;

/** A way of reading memory, with what it reached, bytes a second. */
export type ProbeName = 'scan' | 'linear' | 'sum' | 'copy';
export type ProbeResults = Readonly<Partial<Record<ProbeName, number>>>;

/**
 * Measures how fast this machine, or its GPU, reads memory, by several ways that do hardly anything else:
 * - `scan`: the C library's search for a byte that is not there (`Buffer.indexOf`), on threads of its own;
 *   left out on a GPU, whose memory it does not see
 * - `linear`: the kernel of this package, a float32 matrix times one row
 * - `sum`: TensorFlow's own sum of float32 values
 * - `copy`: on a GPU alone, TensorFlow's sum of every value and 0, whose writes count as well
 */
export class BandwidthProbe {
  private readonly workers: readonly Worker[];
  private readonly weight: Tensor2D;
  private readonly x: Tensor2D;
  private readonly bytes: number;
  private readonly device: 'cpu' | 'gpu';

  private constructor(workers: readonly Worker[], bytes: number, device: 'cpu' | 'gpu') {
    this.workers = workers;
    this.bytes = bytes;
    this.device = device;
    this.weight = ones([bytes / 4 / COLUMNS, COLUMNS]);
    this.x = ones([1, COLUMNS]);
  }

  /**
   * Allocates what the probes read: twice `size`.
   *
   * @param threads that read at the same time; TensorFlow's operations use their own number
   * @param size bytes of a pass, a multiple of 16 KiB; default: well above the caches
   * @param device whose probes are run; default: where tensors live
   */
  static async open(
    threads: number,
    size?: number,
    device: 'cpu' | 'gpu' = onGpu() ? 'gpu' : 'cpu',
  ): Promise<BandwidthProbe> {
    const bytes = size ?? PROBE_BYTES[device];
    const count = device === 'gpu' ? 0 : threads;
    const workers = Array.from(
      { length: count },
      () => new Worker(SCAN, { eval: true, workerData: Math.floor(bytes / count) }),
    );
    await Promise.all(workers.map(reply)); // each says when its memory is there
    return new BandwidthProbe(workers, bytes, device);
  }

  /** Runs every probe once. */
  async measure(): Promise<ProbeResults> {
    const { x, weight, bytes } = this;
    const scan = this.workers.length > 0 ? { scan: await fastest(() => this.scan()) } : {};
    const copyOne = () => tidy(() => slice(add(weight, 0), [0, 0], [1, 1]));
    const copy = this.device === 'gpu' ? { copy: await this.rate(copyOne, 2 * bytes) } : {};
    return {
      ...scan,
      linear: await this.rate(() => linear({ x, weight }), bytes),
      sum: await this.rate(() => sum(weight), bytes),
      ...copy,
    };
  }

  async dispose(): Promise<void> {
    this.weight.dispose();
    this.x.dispose();
    await Promise.all(this.workers.map((worker) => worker.terminate()));
  }

  private async scan(): Promise<number> {
    const replies = this.workers.map(reply);
    for (const worker of this.workers) worker.postMessage(null);
    const spans = await Promise.all(replies);
    const start = Math.min(...spans.map((span) => span.start));
    const end = Math.max(...spans.map((span) => span.end));
    return (spans.reduce((total, span) => total + span.bytes, 0) / (end - start)) * 1e9;
  }

  /** Bytes a second of an operation that moves `bytes`; warmed up on a GPU, where the first call loads its code. */
  private async rate(run: () => Tensor, bytes: number): Promise<number> {
    const passes = PASSES[this.device];
    if (this.device === 'gpu') timed(run, 1);
    return await fastest(async () => ((passes * bytes) / timed(run, passes)) * 1e3);
  }
}

/** Milliseconds that an operation takes, `passes` times in a row; the read-back waits for the last. */
function timed(run: () => Tensor, passes: number): number {
  const start = performance.now();
  for (let pass = 1; pass < passes; pass++) run().dispose();
  tidy(() => {
    run().dataSync();
  });
  return performance.now() - start;
}

/** The best way of reading, by the median of its results. */
export function bestProbe(rounds: readonly ProbeResults[]): ProbeName {
  const names = Object.keys(rounds[0] ?? {}) as ProbeName[];
  const middle = (name: ProbeName) => median(rounds.map((round) => round[name]!));
  return names.reduce((best, name) => (middle(name) > middle(best) ? name : best));
}

async function fastest(run: () => Promise<number>): Promise<number> {
  let best = 0;
  for (let go = 0; go < GOES; go++) best = Math.max(best, await run());
  return best;
}

/** Start and end of one worker's scans on the monotonic clock, nanoseconds. */
interface Span {
  readonly start: number;
  readonly end: number;
  readonly bytes: number;
}

function reply(worker: Worker): Promise<Span> {
  return new Promise((resolve, reject) => {
    worker.once('error', reject);
    worker.once('message', (span: Span) => {
      worker.off('error', reject);
      resolve(span);
    });
  });
}

/** Written before it is read: memory that was never written is one shared page, which stays in the cache. */
const SCAN = `
  const { parentPort, workerData: bytes } = require('node:worker_threads');
  const block = Buffer.alloc(bytes, 1);
  const SCANS = 4;
  parentPort.on('message', () => {
    const start = Number(process.hrtime.bigint());
    for (let i = 0; i < SCANS; i++) block.indexOf(0);
    parentPort.postMessage({ start, end: Number(process.hrtime.bigint()), bytes: SCANS * bytes });
  });
  parentPort.postMessage(null);
`;
