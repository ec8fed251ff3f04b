import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { openCheckpoint } from '../../src/checkpoint/checkpoint.js';
import { DTYPE_BITS, isTensorDtype } from '../../src/checkpoint/dtype.js';
import { parseHeader, readHeader } from '../../src/checkpoint/safetensors.js';
import { DATA, fileOf, fresh, HEADER, root, utf8 } from './files.js';
import { type Dice, type Json, mutateBytes, mutateJson } from './mutate.js';
import { expectAccepted, fuzz, largestBuffer } from './outcome.js';

function safetensorsFile(header: Json, data: Uint8Array, dice: Dice): Uint8Array {
  let text = JSON.stringify(header);
  if (dice.below(12) === 0) text = text.replace('{', `{"a":${JSON.stringify(HEADER)},`); // twice the key a
  if (dice.below(20) === 0) text = `\ufeff${text}`;
  if (dice.below(20) === 0) text = text + ' '.repeat(dice.below(9));
  if (dice.below(20) === 0)
    text = text.replace(/\d+/, dice.pick(['1e1', '0.0', '-0', '4e-1', '1E400']));
  const body = utf8(text);
  const claims = [
    0n,
    1n,
    90_000_000n,
    100_000_001n,
    2n ** 63n,
    2n ** 64n - 1n,
    BigInt(body.length + 1),
  ];
  const claimed = dice.below(8) === 0 ? dice.pick(claims) : BigInt(body.length);
  const file = fileOf(body, data, claimed);
  return dice.below(3) === 0 ? mutateBytes(file, dice) : file;
}

/** A small header with reversed, overlapping, shifted, huge or fractional offsets and shapes. */
function mutateNumbers(header: Json, dice: Dice): Json {
  const entries = Object.values(header as { [key: string]: { [key: string]: Json } });
  const { shape, data_offsets: offsets } = dice.pick(entries.slice(1));
  const list = dice.below(3) === 0 ? (shape as number[]) : (offsets as number[]);
  const at = dice.below(list.length);
  const shifts = [1, -1, 4, -4, 8, 0.5, 2 ** 32, 2 ** 53, -(2 ** 31)];
  const shift = dice.pick(shifts);
  const action = dice.below(4);
  if (action === 0) list.reverse();
  else if (action === 1) for (const i of list.keys()) list[i] = list[i]! + shift;
  else list[at] = (list[at] ?? 0) + shift;
  return header;
}

/** Holds an accepted file to the format, with a reading of its own. */
function expectExactCover(
  file: Uint8Array,
  tensors: ReadonlyMap<string, { offset: number; byteLength: number }>,
  metadata: ReadonlyMap<string, string>,
) {
  const length = Number(new DataView(file.buffer, file.byteOffset).getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(file.subarray(8, 8 + length))) as Record<
    string,
    { dtype: string; shape: number[]; data_offsets: [number, number] }
  >;
  const entries = Object.entries(header).filter(([name]) => name !== '__metadata__');
  expect([...tensors.keys()].sort()).toEqual(entries.map(([name]) => name).sort());
  expect(Object.fromEntries(metadata)).toEqual({ ...header.__metadata__ });
  for (const value of metadata.values()) expect(value).toBeTypeOf('string');
  let at = 0;
  for (const [name, { dtype, shape, data_offsets }] of entries.sort(
    ([, a], [, b]) =>
      a.data_offsets[0] - b.data_offsets[0] || a.data_offsets[1] - b.data_offsets[1],
  )) {
    const [begin, end] = data_offsets;
    for (const size of [...shape, begin, end]) {
      expect(Number.isSafeInteger(size) && size >= 0).toBe(true);
    }
    expect(begin).toBe(at);
    at = end;
    expect(tensors.get(name)).toMatchObject({
      offset: 8 + length + begin,
      byteLength: end - begin,
    });
    const bits = isTensorDtype(dtype) ? DTYPE_BITS[dtype] : undefined;
    if (bits !== undefined) {
      expect(end - begin).toBe(
        (bits / 8) * (shape.includes(0) ? 0 : shape.reduce((product, size) => product * size, 1)),
      );
    }
  }
  expect(8 + length + at).toBe(file.length);
}

/** Stands in the place of a file's path. */
const NAME = '/folder/model.safetensors';

describe('safetensors', () => {
  it('headers', async () => {
    const { accepted } = await fuzz(8000, [NAME], (dice) => {
      let header = fresh(HEADER);
      if (dice.below(2) === 0) header = mutateNumbers(header, dice);
      if (dice.below(2) === 0) header = mutateJson(header, dice);
      const file = safetensorsFile(header, DATA, dice);
      const claimed = file.length < 8 ? 0 : Number(new DataView(file.buffer).getBigUint64(0, true));
      const { tensors, metadata } = parseHeader(
        NAME,
        file.length,
        file.slice(0, 8 + Math.min(claimed, file.length)),
      );
      expectExactCover(file, tensors, metadata);
    });
    expectAccepted(accepted, 50);
  });

  it('files: nothing larger than the file is allocated, and every tensor reads', async () => {
    const dir = join(root, 'single');
    mkdirSync(dir);
    const path = join(dir, 'model.safetensors');
    const { accepted } = await fuzz(600, [dir], async (dice) => {
      const header = dice.below(2) === 0 ? mutateJson(fresh(HEADER), dice) : HEADER;
      const file = safetensorsFile(header, DATA, dice);
      writeFileSync(path, file);
      let failure: unknown;
      const largest = await largestBuffer(async () => {
        try {
          const header = await readHeader(path);
          expectExactCover(file, header.tensors, header.metadata);
          const checkpoint = await openCheckpoint(dir);
          for (const [name, { byteLength, dtype }] of checkpoint.tensors) {
            if (isTensorDtype(dtype)) expect(await checkpoint.read(name)).toHaveLength(byteLength);
          }
          await checkpoint.close();
        } catch (error) {
          failure = error;
        }
      });
      expect(largest).toBeLessThanOrEqual(file.length + 4096);
      if (failure) throw failure;
    });
    expectAccepted(accepted, 50);
  });
});
