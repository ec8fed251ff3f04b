import { mkdirSync, writeFileSync } from 'node:fs';
import { join, resolve, sep } from 'node:path';
import { describe, expect, it } from 'vitest';
import { openCheckpoint } from '../../src/checkpoint/checkpoint.js';
import { DTYPE_BITS, isTensorDtype } from '../../src/checkpoint/dtype.js';
import { parseHeader, readHeader } from '../../src/checkpoint/safetensors.js';
import { fresh, root, utf8 } from './files.js';
import { type Dice, type Json, joined, mutateBytes, mutateJson } from './mutate.js';
import { fuzz, largestBuffer } from './outcome.js';

/** A small safetensors file: header JSON, and data. */
const HEADER: Json = {
  __metadata__: { format: 'pt' },
  a: { dtype: 'F32', shape: [2, 3], data_offsets: [0, 24] },
  'model.b.weight': { dtype: 'BF16', shape: [4], data_offsets: [24, 32] },
  empty: { dtype: 'F16', shape: [0, 7], data_offsets: [32, 32] },
};
const DATA = new Uint8Array(32).fill(7);

function safetensorsFile(header: Json, data: Uint8Array, dice: Dice): Uint8Array {
  let text = JSON.stringify(header);
  if (dice.below(12) === 0) text = text.replace('{', `{"a":${JSON.stringify(HEADER)},`); // twice the key a
  const body = utf8(text);
  const length = new Uint8Array(8);
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
  new DataView(length.buffer).setBigUint64(0, claimed, true);
  const file = joined(length, body, data);
  return dice.below(3) === 0 ? mutateBytes(file, dice) : file;
}

/** Holds an accepted file to the format, with a reading of its own. */
function expectExactCover(
  file: Uint8Array,
  tensors: ReadonlyMap<string, { offset: number; byteLength: number }>,
) {
  const length = Number(new DataView(file.buffer, file.byteOffset).getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(file.subarray(8, 8 + length))) as Record<
    string,
    { dtype: string; shape: number[]; data_offsets: [number, number] }
  >;
  const entries = Object.entries(header).filter(([name]) => name !== '__metadata__');
  expect([...tensors.keys()].sort()).toEqual(entries.map(([name]) => name).sort());
  let at = 0;
  for (const [name, { dtype, shape, data_offsets }] of entries.sort(
    ([, a], [, b]) =>
      a.data_offsets[0] - b.data_offsets[0] || a.data_offsets[1] - b.data_offsets[1],
  )) {
    const [begin, end] = data_offsets;
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

describe('safetensors', () => {
  it('headers', async () => {
    const { accepted } = await fuzz(8000, (dice) => {
      const file = safetensorsFile(mutateJson(fresh(HEADER), dice), DATA, dice);
      const claimed = file.length < 8 ? 0 : Number(new DataView(file.buffer).getBigUint64(0, true));
      const { tensors } = parseHeader(
        'F',
        file.length,
        file.slice(0, 8 + Math.min(claimed, file.length)),
      );
      expectExactCover(file, tensors);
    });
    expect(accepted).toBeGreaterThan(50);
  });

  it('files: nothing larger than the file is allocated, and every tensor reads', async () => {
    const dir = join(root, 'single');
    mkdirSync(dir);
    const path = join(dir, 'model.safetensors');
    const { accepted } = await fuzz(600, async (dice) => {
      const header = dice.below(2) === 0 ? mutateJson(fresh(HEADER), dice) : HEADER;
      const file = safetensorsFile(header, DATA, dice);
      writeFileSync(path, file);
      let failure: unknown;
      const largest = await largestBuffer(async () => {
        try {
          expectExactCover(file, (await readHeader(path)).tensors);
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
    expect(accepted).toBeGreaterThan(50);
  });

  it('indexes: no file outside the folder is opened', async () => {
    const outside = join(root, 'outside.safetensors');
    const shard = joined(Uint8Array.of(...lengthOf(HEADER)), utf8(JSON.stringify(HEADER)), DATA);
    writeFileSync(outside, shard);
    const dir = join(root, 'sharded');
    mkdirSync(join(dir, 'sub'), { recursive: true });
    for (const name of ['one.safetensors', join('sub', 'two.safetensors')])
      writeFileSync(join(dir, name), shard);
    const names = [
      'one.safetensors',
      'sub/two.safetensors',
      '../outside.safetensors',
      outside,
      'sub/../../outside.safetensors',
      './one.safetensors',
      'sub//two.safetensors',
      '..\\outside.safetensors',
      'one.safetensors\0',
      'none.safetensors',
      'sub',
      '',
      'one',
    ];
    const { accepted } = await fuzz(1500, async (dice) => {
      const map: Json = {
        a: dice.pick(names),
        'model.b.weight': dice.pick(names.slice(0, 2)),
        empty: dice.pick(names.slice(0, 2)),
      };
      const index: Json = { metadata: { total_size: 32 }, weight_map: map };
      writeFileSync(
        join(dir, 'model.safetensors.index.json'),
        JSON.stringify(dice.below(2) === 0 ? mutateJson(index, dice) : index),
      );
      const checkpoint = await openCheckpoint(dir);
      await checkpoint.close();
      for (const { file } of checkpoint.tensors.values()) {
        expect(resolve(file).startsWith(resolve(dir) + sep)).toBe(true);
      }
    });
    expect(accepted).toBeGreaterThan(20);
  });
});

function lengthOf(header: Json): Uint8Array {
  const length = new Uint8Array(8);
  new DataView(length.buffer).setBigUint64(0, BigInt(utf8(JSON.stringify(header)).length), true);
  return length;
}
