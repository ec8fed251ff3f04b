import { type Integers, neighbours, unpacked, weightsOf } from './integers.js';
import { describeGroups, type HubMatrix } from './matrix.js';
import { distinct, type Parts, SCALE_DTYPES } from './parts.js';
import type { HubSettings } from './settings.js';

type Settings = Extract<HubSettings, { format: 'AWQ' }>;

const BITS = 4;
/** By how many bits each of eight outputs is shifted in a word. */
const SHIFTS = [0, 16, 4, 20, 8, 24, 12, 28] as const;

/**
 * A matrix of AWQ in the layout "gemm": `qweight` int32 [K, N / 8] and `qzeros` int32 [G, N / 8], packed along N with the
 * outputs in the order 0, 2, 4, 6, 1, 3, 5, 7; `scales` [G, N].
 */
export async function awqMatrix(parts: Parts, settings: Settings): Promise<HubMatrix> {
  const { rows, columns } = parts;
  parts.require('qweight', ['I32'], [columns, rows / 8]);
  const sizes = settings.variants.map(({ groupSize }) => groupSize ?? columns);
  const counts = sizes.map((size) => [Math.ceil(columns / size), rows]);
  const stored = parts.require('scales', Object.keys(SCALE_DTYPES), ...distinct(counts));
  const groups = stored.shape[0]!;
  parts.require('qzeros', ['I32'], [groups, rows / 8]);
  const size = sizes.find((each) => Math.ceil(columns / each) === groups)!;
  const ofColumns = neighbours(columns, size);
  const scaleDtype = SCALE_DTYPES[stored.dtype]!;

  const read = async (): Promise<Integers> => {
    return {
      rows,
      bits: BITS,
      words: packedAlongColumns(await parts.words('qweight'), rows, columns),
      wordAt: { ofRow: 1, ofItem: rows },
      columns: ofColumns,
      scales: await parts.scales('scales'),
      scaleDtype,
      zeros: unpacked(await parts.words('qzeros'), SHIFTS),
      scaleAt: { ofRow: 1, ofItem: rows },
    };
  };
  return {
    rows,
    columns,
    dtype: 'int4',
    how: `AWQ, ${describeGroups(groups, size)}`,
    parts: parts.names,
    storedBytes: parts.bytes,
    integers: { bits: BITS, scales: scaleDtype, zeros: true, columns: ofColumns, read },
    floats: async () => parts.finite(weightsOf(await read()), 'scales'),
  };
}

/** Words [K, N / 8] of eight outputs as words [K / 8, N] of eight inputs. */
function packedAlongColumns(words: Uint32Array, rows: number, columns: number): Uint32Array {
  const width = rows / 8;
  const made = new Uint32Array(Math.ceil(columns / 8) * rows);
  const eight = new Uint32Array(8);
  for (let k = 0; k < columns; k += 8) {
    const to = (k / 8) * rows;
    for (let i = 0; i < width; i++) {
      for (let j = 0; j < 8; j++) eight[j] = k + j < columns ? words[(k + j) * width + i]! : 0;
      transpose(eight);
      for (let n = 0; n < 8; n++) made[to + 8 * i + n] = eight[SHIFTS[n]! / BITS]!;
    }
  }
  return made;
}

/** Eight words of eight numbers: number i of word j becomes number j of word i. Halves, quarters, then single ones swap. */
function transpose(eight: Uint32Array): void {
  for (let i = 0; i < 4; i++) swap(eight, i, 4, 16, 0x0000ffff);
  for (const i of [0, 1, 4, 5]) swap(eight, i, 2, 8, 0x00ff00ff);
  for (let i = 0; i < 8; i += 2) swap(eight, i, 1, 4, 0x0f0f0f0f);
}

/** The upper numbers of word i with the lower ones of the word `apart` after it. */
function swap(eight: Uint32Array, i: number, apart: number, shift: number, mask: number): void {
  const differ = ((eight[i]! >>> shift) ^ eight[i + apart]!) & mask;
  eight[i + apart]! ^= differ;
  eight[i]! ^= differ << shift;
}
