import { copyFileSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { openPickled, openPickledShards } from '../../src/import/pytorch/checkpoint.js';
import { readPickle } from '../../src/import/pytorch/pickle.js';
import { TensorHandlers } from '../../src/import/pytorch/tensors.js';
import { temporaryFolder } from '../support/folders.js';
import { contentsOf, fixture, golden } from './fixtures.js';

interface Tensors {
  readonly [name: string]: {
    readonly dtype: string;
    readonly shape: readonly number[];
    readonly data: string;
  };
}
const expected = golden<Record<'state' | 'untyped' | 'big', Tensors>>('pytorch');

async function read(file: string) {
  const checkpoint = await openPickled(file);
  try {
    return await contentsOf(checkpoint);
  } finally {
    await checkpoint.close();
  }
}

describe('a file of torch.save', () => {
  it.each(['protocol-2.pt', 'protocol-5.pt', 'legacy.pt'])(
    '%s: every dtype, view and shared storage as torch has it',
    async (name) => {
      expect(Object.keys(expected.state).length).toBeGreaterThan(20);
      expect(await read(fixture('pytorch', name))).toEqual(expected.state);
    },
  );

  it('storages without a type', async () => {
    expect(await read(fixture('pytorch', 'untyped.pt'))).toEqual(expected.untyped);
  });

  it('of a big-endian machine', async () => {
    expect(await read(fixture('pytorch', 'big-endian.pt'))).toEqual(expected.big);
  });

  it("the state_dict inside a training program's dict", async () => {
    expect(await read(fixture('pytorch', 'training.pt'))).toEqual(expected.big);
  });

  it('reads into memory of the caller, also what is no contiguous view', async () => {
    const checkpoint = await openPickled(fixture('pytorch', 'protocol-2.pt'));
    for (const name of ['f32', 'transposed', 'column']) {
      const { byteLength } = checkpoint.tensors.get(name)!;
      const memory = new Uint8Array(byteLength + 3).subarray(3);
      await checkpoint.read(name, memory);
      expect(Buffer.from(memory).toString('base64')).toBe(expected.state[name]!.data);
    }
    await checkpoint.close();
  });
});

describe('what is refused', () => {
  it.each([
    ['evil.pt', 'posix.system'],
    ['evil-legacy.pt', 'posix.system'],
    ['numpy.pt', 'numpy'],
    ['module.pt', 'torch.nn.modules.linear.Linear'],
    ['script.pt', 'TorchScript'],
    ['compressed.pt', 'compressed'],
    ['stored.zip', 'data.pkl'],
    ['golden.json', 'torch.save'],
    ['none.pt', 'does not exist'],
  ])('%s, by its name', async (name, named) => {
    const file = fixture('pytorch', name);
    await expect(openPickled(file)).rejects.toThrow(named);
    await expect(openPickled(file)).rejects.toThrow(file);
    expect(existsSync('code-of-a-pickle-ran')).toBe(false);
  });

  it.each([
    [
      'sizes beyond its storage',
      'K\x06K\x05\x86',
      'K\xffK\x05\x86',
      /"f32" reach element 1274 of .* has 30/,
    ],
    [
      'an offset beyond it',
      'K\x07K\x03K\x03\x86',
      'K\xf0K\x03K\x03\x86',
      /"part" reach element 25\d/,
    ],
  ])('%s', async (_, from, to, message) => {
    const bytes = readFileSync(fixture('pytorch', 'protocol-2.pt'));
    Buffer.from(to, 'latin1').copy(bytes, bytes.indexOf(from, 0, 'latin1'));
    const file = join(temporaryFolder(), 'changed.pt');
    writeFileSync(file, bytes);
    await expect(openPickled(file)).rejects.toThrow(message);
  });

  it('a view that repeats its elements beyond the size of the file', async () => {
    const bytes = readFileSync(fixture('pytorch', 'legacy.pt'));
    // (6, 5) with strides (5, 1): the sizes become 255 each and the strides 0, which stays inside of the storage
    for (const [from, to] of [
      ['K\x06K\x05\x86', 'K\xffK\xff\x86'],
      ['K\x05K\x01\x86', 'K\x00K\x00\x86'],
    ] as const) {
      Buffer.from(to, 'latin1').copy(bytes, bytes.indexOf(from, 0, 'latin1'));
    }
    const file = join(temporaryFolder(), 'changed.pt');
    writeFileSync(file, bytes);
    await expect(openPickled(file)).rejects.toThrow(/"f32" the shape \[255, 255\], more bytes/);
  });

  it('calls in calls, however deep', () => {
    const depth = 100_000;
    const pickle = Buffer.concat([
      Buffer.from('\x80\x02ctorch._tensor\n_rebuild_from_type_v2\nq\0', 'latin1'),
      Buffer.alloc(3 * depth, 'h\0N', 'latin1'),
      Buffer.from(')'),
      Buffer.alloc(depth, 0x87),
      Buffer.from('R.'),
    ]);
    expect(() => readPickle(pickle, new TensorHandlers('F'), 'F')).toThrow('without a form');
  });

  it('a truncated file, wherever it ends', async () => {
    for (const name of ['protocol-2.pt', 'legacy.pt']) {
      const bytes = readFileSync(fixture('pytorch', name));
      const file = join(temporaryFolder(), 'cut.pt');
      for (let end = 0; end < bytes.length; end += 97) {
        writeFileSync(file, bytes.subarray(0, end));
        await expect(openPickled(file)).rejects.toMatchObject({ name: 'SdaError' });
      }
    }
  });
});

describe('shards', () => {
  const shards = () => {
    const dir = temporaryFolder();
    const index = {
      weight_map: { f32: 'a.bin', i64: 'b.bin' } as Record<string, string>,
    };
    copyFileSync(fixture('pytorch', 'protocol-2.pt'), join(dir, 'a.bin'));
    copyFileSync(fixture('pytorch', 'big-endian.pt'), join(dir, 'b.bin'));
    const file = join(dir, 'pytorch_model.bin.index.json');
    const write = () => writeFileSync(file, JSON.stringify(index));
    write();
    return { file, index, write };
  };

  it('give the tensors that the index names, each of its own byte order', async () => {
    const checkpoint = await openPickledShards(shards().file);
    expect(await contentsOf(checkpoint)).toEqual({
      f32: expected.state.f32,
      i64: expected.big.i64,
    });
    expect(checkpoint.totalBytes).toBe(6 * 5 * 4 + 3 * 8);
    await checkpoint.close();
  });

  it.each([
    ['a tensor that is not there', 'nothing', 'a.bin', 'nothing'],
    ['a shard that is not there', 'f32', 'c.bin', 'c.bin does not exist'],
    ['a shard outside of the folder', 'f32', '../a.bin', 'inside the folder'],
    ['a file that is none', 'f32', 'a.safetensors', '.bin file inside'],
  ])('%s', async (_, tensor, shard, message) => {
    const { file, index, write } = shards();
    index.weight_map[tensor] = shard;
    write();
    await expect(openPickledShards(file)).rejects.toThrow(message);
  });
});
