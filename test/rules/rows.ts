import type { Random } from '../support/random.js';

/** What is awkward about the logits of a step. */
export const AWKWARD = [
  'of other offsets',
  'with ties',
  'impossible in the anchor',
  'impossible elsewhere',
  'the same in all streams',
] as const;
export type Awkward = (typeof AWKWARD)[number];

export const MASKED = Number.NEGATIVE_INFINITY;

/** Logits of each stream, all of them exact in float32. */
export function rowsOf<Stream extends string>(
  random: Random,
  streams: readonly Stream[],
  { V, kind, anchor }: { V: number; kind: Awkward; anchor: string },
): Record<Stream, Float32Array> {
  const scale = V > 10_000 ? 2 : 1; // some of many tokens are likely, as in a model
  const common = random.normals(V, 2 * scale); // streams of one query agree on much
  const rows = streams.map((name, s) => {
    const own = random.normals(V, kind === 'the same in all streams' ? 0 : 1.5 * scale);
    const row = common.map((value, id) => value + own[id]!);
    if (kind === 'of other offsets') return [name, row.map((value) => value + 40 * (s - 1))];
    if (kind === 'with ties') return [name, row.map((value) => Math.round(value))];
    return [name, row];
  });
  const found = Object.fromEntries(rows) as Record<Stream, Float32Array>;
  const masked = kind === 'impossible in the anchor' ? [anchor as Stream] : streams.slice();
  for (const stream of kind.startsWith('impossible') ? masked : []) {
    if (kind === 'impossible elsewhere' && stream === anchor) continue;
    const first = kind === 'impossible elsewhere' ? streams.indexOf(stream) + 1 : 0;
    for (let id = first; id < V - 1; id += 5) found[stream][id] = MASKED;
  }
  return found;
}
