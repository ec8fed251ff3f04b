import type { Sampling } from '../rules/define.js';

/** Settings that every rule has: how a token is drawn, and what is told of it. */
export const SAMPLING_NAMES: readonly string[] = [
  'temperature',
  'topP',
  'topK',
  'minP',
  'greedy',
  'details',
] satisfies (keyof Sampling)[];

/** A rule's own settings: those beside `SAMPLING_NAMES`. */
export function ownSettings(settings: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(settings).filter(([name]) => !SAMPLING_NAMES.includes(name)),
  );
}

/** Settings as words, such as "alpha 0.5, baseTopP 0.9". */
export function shownSettings(settings: Readonly<Record<string, unknown>>): string {
  return Object.entries(settings)
    .map(([name, value]) => `${name} ${typeof value === 'string' ? value : JSON.stringify(value)}`)
    .join(', ');
}
