import { mkdir, open, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { openCheckpoint } from '../../src/checkpoint/checkpoint.js';
import { checkpointDir } from '../support/checkpoints.js';
import { buildFile, entry, temporaryFolder } from './build.js';

async function opened(dir: string) {
  const checkpoint = await openCheckpoint(dir);
  onTestFinished(() => checkpoint.close());
  return checkpoint;
}

const floats = (...values: number[]) => new Uint8Array(new Float32Array(values).buffer);
const oneTensor = (name: string, ...values: number[]) =>
  buildFile(
    JSON.stringify({ [name]: entry('F32', [values.length], 0, 4 * values.length) }),
    floats(...values),
  );
const index = (map: unknown) => JSON.stringify({ metadata: { total_size: 1 }, weight_map: map });

describe('openCheckpoint', () => {
  it('reads tensors into fresh aligned buffers, at any offset in the file', async () => {
    for (let padding = 0; padding < 8; padding++) {
      const header = JSON.stringify({ a: entry('U8', [3], 0, 3), b: entry('F32', [2], 3, 11) });
      const data = new Uint8Array([1, 2, 3, ...floats(1.5, -2)]);
      const dir = await temporaryFolder({
        'model.safetensors': buildFile(header + ' '.repeat(padding), data),
      });
      const checkpoint = await opened(dir);
      const bytes = await checkpoint.read('b');
      expect(bytes.byteOffset).toBe(0);
      expect(bytes.buffer.byteLength).toBe(8);
      expect([...new Float32Array(bytes.buffer)]).toEqual([1.5, -2]);
      expect(checkpoint.totalBytes).toBe(11);
    }
  });

  it('fills a buffer that is given, and refuses one of another length', async () => {
    const checkpoint = await opened(
      await temporaryFolder({ 'model.safetensors': oneTensor('t', 7, 8) }),
    );
    const into = new Uint8Array(8);
    expect(await checkpoint.read('t', into)).toBe(into);
    expect([...new Float32Array(into.buffer)]).toEqual([7, 8]);
    await expect(checkpoint.read('t', new Uint8Array(9))).rejects.toMatchObject({
      code: 'bad-tensor',
    });
    await expect(checkpoint.read('u')).rejects.toThrow('has no tensor "u"');
  });

  it('refuses an unknown dtype only when it is asked for', async () => {
    const header = JSON.stringify({ q: entry('Q4', [9], 0, 4), t: entry('F32', [1], 4, 8) });
    const checkpoint = await opened(
      await temporaryFolder({ 'model.safetensors': buildFile(header, 8) }),
    );
    expect(await checkpoint.read('t')).toHaveLength(4);
    await expect(checkpoint.read('q')).rejects.toThrow('the dtype "Q4"');
  });

  it('reads what transformers wrote', async () => {
    const checkpoint = await opened(checkpointDir('tiny-llama'));
    const info = checkpoint.tensors.get('model.embed_tokens.weight');
    expect(info?.shape).toEqual([131, 48]);
    expect(await checkpoint.read('model.embed_tokens.weight')).toHaveLength(info?.byteLength ?? -1);
  });

  it('reads beyond 4 GiB', async () => {
    const size = 5 * 2 ** 30;
    const header = { a: entry('U8', [size], 0, size), b: entry('F32', [2], size, size + 8) };
    const start = buildFile(JSON.stringify(header));
    const dir = await temporaryFolder({ 'model.safetensors': start });
    const file = await open(join(dir, 'model.safetensors'), 'r+'); // what is not written takes no room
    await file.write(floats(1.5, -2), 0, 8, start.length + size);
    await file.close();
    const bytes = await (await opened(dir)).read('b');
    expect([...new Float32Array(bytes.buffer)]).toEqual([1.5, -2]);
  });

  it('reports a file that shrank after it was opened', async () => {
    const dir = await temporaryFolder({ 'model.safetensors': oneTensor('t', 1, 2, 3) });
    const checkpoint = await opened(dir);
    await truncate(join(dir, 'model.safetensors'), 70);
    await expect(checkpoint.read('t')).rejects.toMatchObject({ code: 'bad-file' });
  });

  it('can be closed twice and read again', async () => {
    const checkpoint = await opened(
      await temporaryFolder({ 'model.safetensors': oneTensor('t', 1) }),
    );
    const first = await checkpoint.read('t');
    await checkpoint.close();
    await checkpoint.close();
    expect(await checkpoint.read('t')).toEqual(first);
  });
});

describe('a sharded checkpoint', () => {
  it('takes each tensor from the shard that the index names', async () => {
    const dir = await temporaryFolder({
      'model.safetensors.index.json': index({ a: 'one.safetensors', b: 'two.safetensors' }),
      'one.safetensors': oneTensor('a', 1),
      'two.safetensors': oneTensor('b', 2),
    });
    const checkpoint = await opened(dir);
    expect([...new Float32Array((await checkpoint.read('b')).buffer)]).toEqual([2]);
    expect(checkpoint.warnings).toEqual([]);
  });

  it('prefers the single file, as transformers does', async () => {
    const dir = await temporaryFolder({
      'model.safetensors': oneTensor('a', 5),
      'model.safetensors.index.json': index({ a: 'absent.safetensors' }),
    });
    expect([...new Float32Array((await (await opened(dir)).read('a')).buffer)]).toEqual([5]);
  });

  it('lists absent shards before anything is read', async () => {
    const dir = await temporaryFolder({
      'model.safetensors.index.json': index({
        a: '1.safetensors',
        b: '2.safetensors',
        c: '3.safetensors',
      }),
      '1.safetensors': oneTensor('a', 1),
    });
    await expect(openCheckpoint(dir)).rejects.toThrow(
      '2 of them do not exist: 2.safetensors, 3.safetensors',
    );
  });

  it('refuses a stale index, and warns of tensors that it does not name', async () => {
    const dir = await temporaryFolder({
      'model.safetensors.index.json': index({ a: '1.safetensors', old: '1.safetensors' }),
      '1.safetensors': oneTensor('a', 1),
    });
    await expect(openCheckpoint(dir)).rejects.toThrow('old in 1.safetensors');
    await writeFile(
      join(dir, '1.safetensors'),
      buildFile(
        JSON.stringify({
          a: entry('U8', [1], 0, 1),
          old: entry('U8', [1], 1, 2),
          extra: entry('U8', [1], 2, 3),
        }),
        3,
      ),
    );
    const checkpoint = await opened(dir);
    expect(checkpoint.warnings).toHaveLength(1);
    expect(checkpoint.warnings[0]).toContain('extra');
    expect(checkpoint.tensors.has('extra')).toBe(false);
  });

  it.each([
    '../up.safetensors',
    '/etc/passwd',
    '/abs.safetensors',
    'a/../../b.safetensors',
    'a\\..\\b.safetensors',
    './a.safetensors',
    'a.bin',
    'a\0.safetensors',
    'a\u001b[2J.safetensors',
    'a\n.safetensors',
    '',
    3,
    null,
  ])('refuses the shard name %j', async (shard) => {
    const dir = await temporaryFolder({ 'model.safetensors.index.json': index({ a: shard }) });
    await expect(openCheckpoint(dir)).rejects.toMatchObject({ code: 'bad-file' });
    await expect(openCheckpoint(dir)).rejects.toThrow('inside the folder');
  });

  it.each([
    ['no map', '{}', 'weight_map'],
    ['an empty map', index({}), 'empty "weight_map"'],
    ['a list', index(['a']), 'weight_map'],
    [
      'a tensor twice',
      '{"weight_map":{"a":"1.safetensors","a":"2.safetensors"}}',
      'the key "a" twice',
    ],
    ['no JSON', 'weights', 'not valid JSON'],
  ])('refuses an index with %s', async (_, text, message) => {
    const dir = await temporaryFolder({ 'model.safetensors.index.json': text });
    await expect(openCheckpoint(dir)).rejects.toThrow(message);
  });
});

describe('a folder without usable weights', () => {
  it.each([
    [{ 'pytorch_model.bin': '' }, 'unsupported', 'pytorch_model.bin'],
    [{ 'm.gguf': '' }, 'unsupported', 'GGUF'],
    [{ 'consolidated.00.pth': '' }, 'unsupported', 'consolidated.00.pth'],
    [{ 'model-00001-of-00002.safetensors': '' }, 'file-missing', 'neither model.safetensors nor'],
    [{}, 'file-missing', 'has no weights'],
  ])('%j', async (files, code, message) => {
    const dir = await temporaryFolder(files);
    await expect(openCheckpoint(dir)).rejects.toMatchObject({ code });
    await expect(openCheckpoint(dir)).rejects.toThrow(message);
  });

  it('says that the folder does not exist, or is a file', async () => {
    const dir = await temporaryFolder({ file: '' });
    for (const name of ['none', 'file']) {
      await expect(openCheckpoint(join(dir, name))).rejects.toMatchObject({ code: 'file-missing' });
    }
    await mkdir(join(dir, 'model.safetensors'));
    await expect(openCheckpoint(dir)).rejects.toMatchObject({ code: 'bad-file' });
  });
});
