import {
  abs,
  dispose,
  isFinite as finite,
  max,
  sub,
  type Tensor,
  tidy,
  where,
  zerosLike,
} from '@tensorflow/tfjs-core';
import { add, complete, configure, cycle, suite } from 'benny';
import { SdaError } from '../src/errors.js';

/** One way of doing the work of a case. Every call makes new tensors, which the harness disposes. */
export interface Variant {
  readonly name: string;
  readonly run: () => Tensor[];
  /** False for a formulation that is meant to differ (the authors' epsilons): timed, not verified. */
  readonly verified?: boolean;
}

/** One size of one kernel. The first variant is the product's own way, against which the others are held. */
export interface BenchCase {
  readonly label: string;
  readonly variants: readonly Variant[];
  /** Bytes that a call cannot avoid reading or writing */
  readonly bytes: number;
  /** Largest difference from the first variant, relative to the largest value */
  readonly tolerance: number;
  readonly dispose: () => void;
}

export interface KernelBench {
  readonly kernel: string;
  /** Builds one case at a time, so that the memory of one is free before the next. */
  readonly cases: readonly (() => BenchCase)[];
}

/** One line of the results. */
export interface BenchRow {
  readonly kernel: string;
  readonly case: string;
  readonly variant: string;
  /** Median of a call, milliseconds */
  readonly medianMs: number;
  /** Relative margin of error of the mean, percent (benny) */
  readonly marginPercent: number;
  readonly samples: number;
  /** This variant's time over the first variant's */
  readonly ratio: number;
  readonly gigabytesPerSecond: number;
}

/**
 * Verifies the variants of a case against each other, then times them with benny.
 *
 * @throws SdaError `bad-tensor` when a variant disagrees with the first: a wrong kernel is not timed.
 */
export async function runCase(
  kernel: string,
  make: () => BenchCase,
  seconds: number,
): Promise<BenchRow[]> {
  const bench = make();
  try {
    verify(kernel, bench);
    const options = { minSamples: 5, maxTime: seconds };
    const summary = await suite(
      `${kernel} ${bench.label}`,
      ...bench.variants.map(({ name, run }) => add(name, () => void dispose(run()), options)),
      configure({ minDisplayPrecision: 2 }),
      cycle(() => ''),
      complete(() => ''),
    );
    const first = summary.results[0]!.details.median;
    return summary.results.map(({ name, margin, samples, details }) => ({
      kernel,
      case: bench.label,
      variant: name,
      medianMs: details.median * 1000,
      marginPercent: margin,
      samples,
      ratio: details.median / first,
      gigabytesPerSecond: bench.bytes / details.median / 1e9,
    }));
  } finally {
    bench.dispose();
  }
}

function verify(kernel: string, bench: BenchCase): void {
  const [own, ...others] = bench.variants;
  for (const other of others.filter(({ verified = true }) => verified)) {
    const expected = other.run();
    const found = own!.run();
    const worst = Math.max(...found.map((tensor, i) => difference(tensor, expected[i]!)));
    dispose([...expected, ...found]);
    if (!(worst <= bench.tolerance)) {
      throw new SdaError(
        'bad-tensor',
        `${kernel}, ${bench.label}: ${own!.name} and ${other.name} differ by ${worst}, more than ${bench.tolerance}, so neither is timed: run the tests of the kernel.`,
      );
    }
  }
}

/** Largest difference where both are finite, relative to the largest finite value. */
function difference(a: Tensor, b: Tensor): number {
  return tidy(() => {
    const clean = (x: Tensor) => where(finite(x), x, zerosLike(x));
    const scale = max(abs(clean(b))).dataSync()[0]!;
    return max(abs(sub(clean(a), clean(b)))).dataSync()[0]! / Math.max(scale, 1e-30);
  });
}
