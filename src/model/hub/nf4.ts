import { z } from 'zod';
import { describeIssues, parseJson } from '../../checkpoint/json-file.js';
import { SdaError } from '../../errors.js';
import type { HubMatrix } from './matrix.js';
import type { Parts } from './parts.js';

const STATE = 'weight.quant_state.bitsandbytes__nf4';
const LEVELS = 16;
const NESTED_LEVELS = 256;

const stateSchema = z.object({
  quant_type: z.literal('nf4'),
  blocksize: z.number().int().positive(),
  shape: z.tuple([z.number().int(), z.number().int()]),
  nested_blocksize: z.number().int().positive().nullish(),
  nested_offset: z.number().nullish(),
});

/**
 * A matrix of bitsandbytes' nf4: `weight` uint8 [N K / 2, 1], two numbers a byte and the first in the upper half, which
 * choose one of 16 levels (`weight.quant_map`); neighbours on the flat index share a scale (`weight.absmax`), which may be
 * a number of 8 bits in its turn. The kernels do not take it as it is.
 */
export async function nf4Matrix(parts: Parts): Promise<HubMatrix> {
  const { rows, columns } = parts;
  const bytes = Math.ceil((rows * columns) / 2);
  parts.require('weight', ['U8'], [bytes, 1], [1, bytes]);
  parts.require('weight.quant_map', ['F32'], [LEVELS]);
  const info = parts.find(STATE);
  parts.require(STATE, ['U8'], info?.shape.length === 1 ? info.shape : [bytes]);
  const state = await stateOf(parts);
  const blocks = Math.ceil((rows * columns) / state.blocksize);
  const nested = parts.find('weight.absmax')?.dtype === 'U8';
  parts.require('weight.absmax', ['F32', 'U8'], [blocks]);
  const nestedSize = state.nested_blocksize ?? NESTED_LEVELS;
  if (nested) {
    parts.require('weight.nested_absmax', ['F32'], [Math.ceil(blocks / nestedSize)]);
    parts.require('weight.nested_quant_map', ['F32'], [NESTED_LEVELS]);
  }

  const floats = async () => {
    const numbers = await parts.read('weight');
    const levels = await floatsOf(parts, 'weight.quant_map');
    const scales = nested
      ? await nestedScales(parts, nestedSize, state.nested_offset ?? 0)
      : await floatsOf(parts, 'weight.absmax');
    const weights = new Float32Array(rows * columns);
    for (let i = 0; i < weights.length; i++) {
      const level = i % 2 === 0 ? numbers[i >> 1]! >> 4 : numbers[i >> 1]! & 15;
      weights[i] = levels[level]! * scales[Math.floor(i / state.blocksize)]!;
    }
    return parts.finite(weights, 'weight');
  };
  return {
    rows,
    columns,
    dtype: 'nf4',
    how: `bitsandbytes, blocks of ${state.blocksize}`,
    parts: parts.names,
    storedBytes: parts.bytes,
    integers: null,
    floats,
  };
}

/** @throws SdaError `bad-tensor` for a description that is none, or is of another matrix */
async function stateOf(parts: Parts): Promise<z.infer<typeof stateSchema>> {
  const { file } = parts.find(STATE)!;
  const text = new TextDecoder().decode(await parts.read(STATE));
  const name = `${parts.module}.${STATE} of ${file}`;
  const found = stateSchema.safeParse(parseJson(text, name, 'bad-tensor'));
  if (!found.success) {
    throw new SdaError(
      'bad-tensor',
      `${name} is no description of nf4 weights (${describeIssues(found.error)}); download it again.`,
    );
  }
  const { shape } = found.data;
  if (shape[0] === parts.rows && shape[1] === parts.columns) return found.data;
  throw parts.damaged(
    STATE,
    `the shape [${shape.join(', ')}] where [${parts.rows}, ${parts.columns}] is expected`,
  );
}

async function floatsOf(parts: Parts, part: string): Promise<Float32Array> {
  const bytes = await parts.read(part);
  return new Float32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);
}

async function nestedScales(parts: Parts, size: number, offset: number): Promise<Float32Array> {
  const numbers = await parts.read('weight.absmax');
  const levels = await floatsOf(parts, 'weight.nested_quant_map');
  const scales = await floatsOf(parts, 'weight.nested_absmax');
  return Float32Array.from(numbers, (number, i) => {
    return Math.fround(levels[number]! * scales[Math.floor(i / size)]!) + offset;
  });
}
