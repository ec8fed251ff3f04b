import { distinct } from './gptq.js';
import { type Integers, neighbours, weightsOf } from './integers.js';
import { describeGroups, type HubMatrix } from './matrix.js';
import { type Parts, SCALE_DTYPES } from './parts.js';
import type { HubSettings } from './settings.js';

type Settings = Extract<HubSettings, { format: 'AWQ' }>;

const BITS = 4;
/** Where in a word each of eight outputs stands, in numbers of 4 bits from the lowest on. */
const PLACES = [0, 4, 1, 5, 2, 6, 3, 7] as const;

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
      zeros: inOrder(await parts.words('qzeros')),
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
  for (let k = 0; k < columns; k++) {
    const left = (k % 8) * BITS;
    const to = Math.floor(k / 8) * rows;
    for (let i = 0; i < width; i++) {
      const word = words[k * width + i]!;
      for (let n = 0; n < 8; n++) {
        made[to + 8 * i + n]! |= ((word >>> (PLACES[n]! * BITS)) & 15) << left;
      }
    }
  }
  return made;
}

/** Zero points, a byte each. */
function inOrder(words: Uint32Array): Uint8Array {
  return Uint8Array.from(
    { length: words.length * 8 },
    (_, i) => (words[Math.floor(i / 8)]! >>> (PLACES[i % 8]! * BITS)) & 15,
  );
}
