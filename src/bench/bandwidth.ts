import { Worker } from 'node:worker_threads';
import { ones, sum, type Tensor, type Tensor2D, tidy } from '@tensorflow/tfjs-core';
import { linear } from '../../kernels/linear/index.js';
import { onGpu } from '../runtime/backend.js';
import { median } from './statistics.js';

/** Bytes that a probe reads in one go: well above the caches. */
const PROBE_BYTES = 256 * 2 ** 20;
/** Goes of each probe a call; the fastest of them counts, the others were disturbed. */
const GOES = 3;
/** Columns of the matrix that the `linear` probe reads. */
const COLUMNS = 4096;

/** A way of reading memory, with what it reached, bytes a second. */
export type ProbeName = 'scan' | 'linear' | 'sum';
export type ProbeResults = Readonly<Partial<Record<ProbeName, number>>>;

/**
 * Measures how fast this machine reads memory, by several ways that do hardly anything else:
 * - `scan`: the C library's search for a byte that is not there (`Buffer.indexOf`), on threads of its own;
 *   left out on a GPU, whose memory it does not see
 * - `linear`: the kernel of this package, a float32 matrix times one row
 * - `sum`: TensorFlow's own sum of float32 values
 */
export class BandwidthProbe {
  private readonly workers: readonly Worker[];
  private readonly weight: Tensor2D;
  private readonly x: Tensor2D;
  private readonly bytes: number;

  private constructor(workers: readonly Worker[], bytes: number) {
    this.workers = workers;
    this.bytes = bytes;
    this.weight = ones([bytes / 4 / COLUMNS, COLUMNS]);
    this.x = ones([1, COLUMNS]);
  }

  /**
   * Allocates what the probes read: twice `bytes`.
   *
   * @param threads that read at the same time; TensorFlow's operations use their own number
   * @param bytes a multiple of 16 KiB
   */
  static async open(threads: number, bytes = PROBE_BYTES): Promise<BandwidthProbe> {
    const count = onGpu() ? 0 : threads;
    const workers = Array.from(
      { length: count },
      () => new Worker(SCAN, { eval: true, workerData: Math.floor(bytes / count) }),
    );
    await Promise.all(workers.map(reply)); // each says when its memory is there
    return new BandwidthProbe(workers, bytes);
  }

  /** Runs every probe once. */
  async measure(): Promise<ProbeResults> {
    const scan = this.workers.length > 0 ? { scan: await fastest(() => this.scan()) } : {};
    return {
      ...scan,
      linear: await fastest(() =>
        this.timed(() => linear({ x: this.x, weight: this.weight }) as Tensor),
      ),
      sum: await fastest(() => this.timed(() => sum(this.weight))),
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

  /** The read-back waits for the operation to end. */
  private async timed(run: () => Tensor): Promise<number> {
    const start = performance.now();
    tidy(() => {
      run().dataSync();
    });
    return (this.bytes / (performance.now() - start)) * 1e3;
  }
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
