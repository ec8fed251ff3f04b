import type { QuantisedBits } from '../../runtime/quantised.js';
import {
  type Columns,
  gathered,
  type Integers,
  inSequence,
  neighbours,
  ordered,
  unpacked,
  weightsOf,
} from './integers.js';
import { describeGroups, type HubMatrix } from './matrix.js';
import { distinct, type Parts, SCALE_DTYPES } from './parts.js';
import type { HubSettings, Variant } from './settings.js';

type Settings = Extract<HubSettings, { format: 'GPTQ' }>;

/**
 * A matrix of GPTQ: `qweight` int32 [K b / 32, N], packed along K; `qzeros` int32 [G, N b / 32], packed along N; `scales`
 * [G, N]; `g_idx` int32 [K], the group of each input.
 *
 * In v1 zero points are stored less 1, which is taken off whole words and so added to whole words again: that undoes it
 * where a zero point of 0 has borrowed from its neighbour, too.
 */
export async function gptqMatrix(parts: Parts, settings: Settings): Promise<HubMatrix> {
  const { rows, columns } = parts;
  const variants = settings.variants;
  const shapes = variants.map(({ bits }) => [(columns * bits) / 32, rows]);
  const packed = parts.require('qweight', ['I32'], ...distinct(shapes));
  const bits = ((packed.shape[0]! * 32) / columns) as QuantisedBits;
  const ofBits = variants.filter((variant) => variant.bits === bits);
  const counts = ofBits.map((variant) => [groupCount(variant, columns), rows]);
  const stored = parts.require('scales', Object.keys(SCALE_DTYPES), ...distinct(counts));
  const groups = stored.shape[0]!;
  parts.require('qzeros', ['I32'], [groups, (rows * bits) / 32]);
  const size =
    ofBits.find((variant) => groupCount(variant, columns) === groups)!.groupSize ?? columns;
  const symmetric = ofBits.every((variant) => variant.symmetric === true);
  const ofColumns = await columnsOf(parts, groups, size);
  const scaleDtype = SCALE_DTYPES[stored.dtype]!;

  const read = async (): Promise<Integers> => {
    const words = await parts.words('qweight');
    const zeros = await zerosOf(parts, bits, settings.stored);
    if (symmetric) refuseOtherZeros(parts, zeros, bits, rows, settings.stored);
    const byColumns = { ofRow: 1, ofItem: rows };
    const { order } = ofColumns;
    return {
      ...(order ? ordered(words, byColumns, rows, bits, order) : { words, wordAt: byColumns }),
      rows,
      bits,
      columns: ofColumns,
      scales: await parts.scales('scales'),
      scaleDtype,
      zeros: symmetric ? null : zeros,
      scaleAt: byColumns,
    };
  };
  const order = ofColumns.order ? ', act-order' : '';
  return {
    rows,
    columns,
    dtype: `int${bits}`,
    how: `GPTQ, ${describeGroups(groups, size)}${order}`,
    parts: parts.names,
    storedBytes: parts.bytes,
    integers: { bits, scales: scaleDtype, zeros: !symmetric, columns: ofColumns, read },
    floats: async () => parts.finite(weightsOf(await read()), 'scales'),
  };
}

function groupCount({ groupSize }: Variant, columns: number): number {
  return Math.ceil(columns / (groupSize ?? columns));
}

/** Some writers leave `g_idx` out, or full of zeros, where groups are of neighbours. */
async function columnsOf(parts: Parts, groups: number, size: number): Promise<Columns> {
  const { columns } = parts;
  if (!parts.find('g_idx')) return neighbours(columns, size);
  parts.require('g_idx', ['I32'], [columns]);
  const groupOf = new Int32Array((await parts.words('g_idx')).buffer);
  if (groupOf.every((group) => group === 0)) return neighbours(columns, size);
  return gathered(soundGroups(parts, 'g_idx', groupOf, groups));
}

/** @throws SdaError `bad-tensor` for a group that there is not */
export function soundGroups(
  parts: Parts,
  part: string,
  groupOf: Int32Array,
  groups: number,
): Int32Array {
  const odd = groupOf.findIndex((group) => group < 0 || group >= groups);
  if (odd < 0) return groupOf;
  throw parts.damaged(part, `${groupOf[odd]} at ${odd} where 0 to ${groups - 1} is expected`);
}

/** [G, N] */
async function zerosOf(
  parts: Parts,
  bits: QuantisedBits,
  stored: 'v1' | 'v2',
): Promise<Uint8Array> {
  const words = await parts.words('qzeros');
  const ones = stored === 'v2' ? 0 : bits === 4 ? 0x11111111 : 0x01010101;
  for (let i = 0; i < words.length; i++) words[i]! += ones;
  return unpacked(words, inSequence(bits));
}

/** What is called symmetric tells whether v1 or v2 is: a wrong name of one for the other would shift all weights. */
function refuseOtherZeros(
  parts: Parts,
  zeros: Uint8Array,
  bits: QuantisedBits,
  rows: number,
  stored: 'v1' | 'v2',
): void {
  const middle = 2 ** (bits - 1);
  const odd = zeros.findIndex((zero) => zero !== middle);
  if (odd < 0) return;
  throw parts.damaged(
    'qzeros',
    `the zero point ${zeros[odd]} at [${Math.floor(odd / rows)}, ${odd % rows}], read as ${stored}, where sym of config.json means ${middle}`,
  );
}
