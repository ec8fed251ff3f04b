import { GROUP } from '../../runtime/quantised.js';
import type { HubWeights } from './open.js';
import type { HubSettings } from './settings.js';

/** How most of a checkpoint's quantised weights are, such as `GPTQ, groups of 128`. */
export function describeHub({ matrices }: HubWeights): string {
  const counts = new Map<string, number>();
  for (const { how } of matrices.values()) counts.set(how, (counts.get(how) ?? 0) + 1);
  return [...counts].reduce((most, each) => (each[1] > most[1] ? each : most))[0];
}

/** Bytes of a weight of a linear layer, as config.json alone tells; null where floats are made of it. */
export function carriedBytes(settings: HubSettings | null): number | null {
  if (!settings || !('variants' in settings) || settings.variants.length === 0) return null;
  const { bits, groupSize, symmetric } = settings.variants[0]!;
  if (groupSize !== null && groupSize % GROUP !== 0) return null;
  return bits / 8 + (symmetric ? 2 : 3) / GROUP; // a scale of two bytes, and a zero point
}
