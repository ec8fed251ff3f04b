import type { HubWeights } from './open.js';

/** How most of a checkpoint's quantised weights are, such as `GPTQ, groups of 128`. */
export function describeHub({ matrices }: HubWeights): string {
  const counts = new Map<string, number>();
  for (const { how } of matrices.values()) counts.set(how, (counts.get(how) ?? 0) + 1);
  return [...counts].reduce((most, each) => (each[1] > most[1] ? each : most))[0];
}
