import type { QuantisedBits } from '../../runtime/quantised.js';
import { fp8Matrix } from './fp8.js';
import { soundGroups } from './gptq.js';
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

type Settings = Extract<HubSettings, { format: 'compressed-tensors' }>;
/** Numbers of a matrix, unsigned. */
type Numbers = Pick<Integers, 'words' | 'wordAt'>;

/**
 * A matrix of compressed-tensors: `weight_packed` int32 [N, K b / 32], packed along K, or `weight` int8 [N, K];
 * `weight_scale` [N, G], [N] or [1]; `weight_zero_point`, packed along N or int8; `weight_g_idx` [K], -1 where it says
 * nothing. FP8: see {@link fp8Matrix}. What it says of activations is not followed: they have 16 bits here.
 */
export async function compressedMatrix(parts: Parts, settings: Settings): Promise<HubMatrix> {
  const packed = parts.find('weight_packed') !== undefined;
  if (!packed && parts.find('weight')?.dtype.startsWith('F8')) {
    return fp8Matrix(parts, { scale: 'weight_scale', blocks: settings.blocks });
  }
  const { rows, columns } = parts;
  const bits = packed ? packedBits(parts, settings.variants) : 8;
  if (!packed) parts.require('weight', ['I8'], [rows, columns]);
  parts.claim('weight_shape', 'input_scale', 'input_zero_point', 'output_scale');
  const ofBits = settings.variants.filter((variant) => variant.bits === bits);
  const { scale, groups, size } = scalesOf(parts, ofBits);
  const zeros = zeroPoints(parts, bits, groups);
  const ofColumns = await columnsOf(parts, groups, size);
  const scaleDtype = SCALE_DTYPES[scale.dtype]!;

  const read = async (): Promise<Integers> => {
    const scales = await parts.scales('weight_scale');
    const numbers = packed ? await packedNumbers(parts, bits) : await signedNumbers(parts);
    const { order } = ofColumns;
    return {
      ...(order ? ordered(numbers.words, numbers.wordAt, rows, bits, order) : numbers),
      rows,
      bits,
      columns: ofColumns,
      scales,
      scaleDtype,
      zeros: (await zeros?.()) ?? null,
      scaleAt: { ofRow: scales.length === 1 ? 0 : groups, ofItem: 1 },
    };
  };
  const order = ofColumns.order ? ', act-order' : '';
  return {
    rows,
    columns,
    dtype: `int${bits}`,
    how: `compressed-tensors, ${describeGroups(groups, size)}${order}`,
    parts: parts.names,
    storedBytes: parts.bytes,
    integers: { bits, scales: scaleDtype, zeros: zeros !== null, columns: ofColumns, read },
    floats: async () => parts.finite(weightsOf(await read()), 'weight_scale'),
  };
}

function packedBits(parts: Parts, variants: readonly Variant[]): QuantisedBits {
  const { rows, columns } = parts;
  const width = (bits: number) => Math.ceil((columns * bits) / 32);
  const shapes = variants.map(({ bits }) => [rows, width(bits)]);
  const found = parts.require('weight_packed', ['I32'], ...distinct(shapes));
  return variants.find(({ bits }) => width(bits) === found.shape[1])!.bits;
}

function scalesOf(parts: Parts, variants: readonly Variant[]) {
  const { rows, columns } = parts;
  const sizes = variants.map(({ groupSize }) => groupSize ?? columns);
  const counts = sizes.map((size) => Math.ceil(columns / size));
  const whole = counts.includes(1) ? [[rows], [1], []] : [];
  const scale = parts.require(
    'weight_scale',
    Object.keys(SCALE_DTYPES),
    ...distinct(counts.map((count) => [rows, count])),
    ...whole,
  );
  const groups = scale.shape[1] ?? 1;
  return { scale, groups, size: sizes[counts.indexOf(groups)]! };
}

/** What reads the zero points, [N, G]; null where there are none. */
function zeroPoints(parts: Parts, bits: QuantisedBits, groups: number) {
  const info = parts.find('weight_zero_point');
  if (!info) return null;
  const { rows } = parts;
  const one = groups === 1 && (parts.find('weight_scale')?.shape[0] ?? 1) === 1;
  const count = one ? 1 : rows;
  if (info.dtype === 'I32') {
    const width = Math.ceil((count * bits) / 32);
    parts.require('weight_zero_point', ['I32'], [width, groups]);
    return async () => packedZeros(await parts.words('weight_zero_point'), count, groups, bits);
  }
  parts.require(
    'weight_zero_point',
    ['I8'],
    [count, groups],
    ...(groups === 1 ? [[count], []] : []),
  );
  return async () => signedZeros(parts, bits, groups);
}

/** Words [N b / 32, G] of neighbours along N -> [N, G]. */
function packedZeros(words: Uint32Array, rows: number, groups: number, bits: QuantisedBits) {
  const inWord = 32 / bits;
  const single = unpacked(words, inSequence(bits)); // [N / inWord, G, inWord]
  return Uint8Array.from({ length: rows * groups }, (_, i) => {
    const [n, g] = [Math.floor(i / groups), i % groups];
    return single[(Math.floor(n / inWord) * groups + g) * inWord + (n % inWord)]!;
  });
}

async function signedZeros(parts: Parts, bits: QuantisedBits, groups: number) {
  const middle = 2 ** (bits - 1);
  const signed = new Int8Array((await parts.read('weight_zero_point')).buffer);
  const odd = signed.findIndex((zero) => zero < -middle || zero >= middle);
  if (odd >= 0) {
    throw parts.damaged(
      'weight_zero_point',
      `${signed[odd]} at [${Math.floor(odd / groups)}, ${odd % groups}] where ${-middle} to ${middle - 1} is expected`,
    );
  }
  return Uint8Array.from(signed, (zero) => zero + middle);
}

async function columnsOf(parts: Parts, groups: number, size: number): Promise<Columns> {
  const { columns } = parts;
  if (!parts.find('weight_g_idx')) return neighbours(columns, size);
  parts.require('weight_g_idx', ['I32'], [columns]);
  const groupOf = new Int32Array((await parts.words('weight_g_idx')).buffer);
  if (groupOf.includes(-1)) return neighbours(columns, size);
  return gathered(soundGroups(parts, 'weight_g_idx', groupOf, groups));
}

async function packedNumbers(parts: Parts, bits: QuantisedBits): Promise<Numbers> {
  const words = await parts.words('weight_packed');
  return { words, wordAt: { ofRow: Math.ceil((parts.columns * bits) / 32), ofItem: 1 } };
}

/** Numbers -128 to 127, as 0 to 255. */
async function signedNumbers(parts: Parts): Promise<Numbers> {
  const { rows, columns } = parts;
  const width = Math.ceil(columns / 4);
  const signed = await parts.read('weight');
  const numbers = new Uint8Array(rows * width * 4);
  for (let n = 0; n < rows; n++) {
    for (let k = 0; k < columns; k++) {
      numbers[n * width * 4 + k] = signed[n * columns + k]! ^ 128;
    }
  }
  return { words: new Uint32Array(numbers.buffer), wordAt: { ofRow: width, ofItem: 1 } };
}
