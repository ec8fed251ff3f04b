import type { Environment } from '../bench/environment.js';
import type { Summary } from '../bench/statistics.js';
import { counted } from './counted.js';

// How benchmarks are told on a terminal.

export function machineLine({ machine, versions, kernels }: Environment): string {
  const threads = counted(machine.threads, 'thread');
  const gpu = machine.gpu === null ? '' : ` and ${machine.gpu.name}`;
  return `${machine.cpu}, ${threads}${gpu}; TensorFlow ${versions.tensorflow}, ${kernels} kernels, Node ${versions.node}`;
}

export function spread(
  { median, p20, p80 }: Pick<Summary, 'median' | 'p20' | 'p80'>,
  digits: number,
) {
  return `${median.toFixed(digits)} (${p20.toFixed(digits)}-${p80.toFixed(digits)})`;
}

export function percent(share: number): string {
  return `${(100 * share).toFixed(1)}%`;
}
