import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { DTYPE_BITS, type TensorDtype, tensorByteLength } from '../../src/checkpoint/dtype.js';
import { MAX_HEADER_BYTES, parseHeader, readHeader } from '../../src/checkpoint/safetensors.js';
import { SdaError } from '../../src/errors.js';
import { buildFile, entry, temporaryFolder } from './build.js';

/** Parses header JSON (an object, or text to keep duplicates) over `dataBytes` bytes of data. */
function parse(header: unknown, dataBytes = 0) {
  const text = typeof header === 'string' ? header : JSON.stringify(header);
  const bytes = buildFile(text);
  return parseHeader('w.safetensors', bytes.length + dataBytes, bytes);
}

describe('parseHeader', () => {
  it('gives names, shapes and absolute offsets, in the order of the data', () => {
    const text = JSON.stringify({
      second: entry('BF16', [2, 3], 4, 16),
      __metadata__: { format: 'pt' },
      first: entry('F32', [], 0, 4),
      empty: entry('F16', [0, 7], 16, 16),
    });
    const header = parse(`${text}     `, 16);
    const start = 8 + text.length + 5;
    expect([...header.tensors.values()]).toEqual([
      { name: 'first', dtype: 'F32', shape: [], offset: start, byteLength: 4, file: header.file },
      {
        name: 'second',
        dtype: 'BF16',
        shape: [2, 3],
        offset: start + 4,
        byteLength: 12,
        file: header.file,
      },
      {
        name: 'empty',
        dtype: 'F16',
        shape: [0, 7],
        offset: start + 16,
        byteLength: 0,
        file: header.file,
      },
    ]);
    expect(header.metadata).toEqual(new Map([['format', 'pt']]));
  });

  it('takes no metadata, empty metadata, and odd tensor names', () => {
    expect(parse({}).tensors.size).toBe(0);
    expect(parse({ __metadata__: {} }).tensors.size).toBe(0);
    const odd =
      '{"__proto__":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"7":{"dtype":"U8","shape":[1],"data_offsets":[1,2]},"constructor":{"dtype":"U8","shape":[1],"data_offsets":[2,3]}}';
    expect([...parse(odd, 3).tensors.keys()]).toEqual(['__proto__', '7', 'constructor']);
  });

  it('keeps an unknown dtype, but checks its offsets', () => {
    expect(parse({ t: entry('Q4_K', [3], 0, 5) }, 5).tensors.get('t')?.dtype).toBe('Q4_K');
    expect(() => parse({ t: entry('Q4_K', [3], 0, 6) }, 5)).toThrow('truncated');
  });

  it('takes offsets beyond 2^32', () => {
    const size = 5 * 2 ** 32;
    const { tensors } = parse(
      { a: entry('U8', [size], 0, size), b: entry('F32', [1], size, size + 4) },
      size + 4,
    );
    expect(tensors.get('b')?.offset).toBeGreaterThan(size);
  });

  it.each<[string, unknown, number, string]>([
    ['reversed offsets', { t: entry('F32', [1], 4, 0) }, 4, 'reversed offsets [4, 0]'],
    ['a negative offset', { t: entry('F32', [1], -4, 0) }, 4, 'describes the tensor "t" wrongly'],
    ['a fraction', { t: entry('F32', [1], 0, 4.5) }, 5, 'describes the tensor "t" wrongly'],
    [
      'an offset of 2^53',
      { t: entry('U8', [1], 0, 2 ** 53) },
      5,
      'describes the tensor "t" wrongly',
    ],
    ['an end past the file', { t: entry('F32', [2], 0, 8) }, 4, 'only 4 bytes of data'],
    ['bytes unlike shape x dtype', { t: entry('F32', [2], 0, 4) }, 4, 'F32 and shape [2] need 8'],
    ['an overflowing shape', { t: entry('F32', [2 ** 40, 2 ** 40], 0, 4) }, 4, 'impossible'],
    ['half a byte', { t: entry('F4', [3], 0, 1) }, 1, 'impossible'],
    [
      'an overlap',
      { a: entry('F32', [2], 0, 8), b: entry('F32', [1], 4, 8) },
      8,
      'overlap the tensor "a" by 4',
    ],
    [
      'the same bytes twice',
      { a: entry('F32', [1], 0, 4), b: entry('F32', [1], 0, 4) },
      4,
      'overlap',
    ],
    [
      'a gap',
      { a: entry('U8', [1], 0, 1), b: entry('U8', [1], 3, 4) },
      4,
      '2 bytes between the tensor "a" and the tensor "b"',
    ],
    ['a gap at the start', { a: entry('U8', [1], 1, 2) }, 2, '1 bytes between the header'],
    ['trailing bytes', { a: entry('U8', [1], 0, 1) }, 9, '8 trailing bytes'],
    ['data without tensors', {}, 3, '3 trailing bytes'],
    [
      'three offsets',
      { t: { dtype: 'U8', shape: [1], data_offsets: [0, 1, 2] } },
      1,
      'data_offsets',
    ],
    ['no dtype', { t: { shape: [1], data_offsets: [0, 1] } }, 1, 'dtype'],
    ['a null entry', { t: null }, 1, 'describes the tensor "t" wrongly'],
    ['metadata of numbers', { __metadata__: { n: 1 } }, 0, '__metadata__'],
    [
      'metadata of a number whose key objects inherit',
      '{"__metadata__":{"__proto__":1}}',
      0,
      '"__proto__" is none',
    ],
    [
      'a dtype that is no name',
      { t: entry('F32\u001b[2J', [1], 0, 4) },
      4,
      'describes the tensor "t" wrongly (dtype',
    ],
    ['nested lists as a shape', { t: entry('F32', [[1]], 0, 4) }, 4, 'wrongly (shape.0'],
    ['a size of 1e308', { t: entry('F32', [1e308, 0], 0, 0) }, 0, 'wrongly (shape.0'],
    ['a byte order mark', '\ufeff{}', 0, 'does not start with "{"'],
    ['deep nesting', `{"t":${'['.repeat(9999)}${']'.repeat(9999)}}`, 0, 'more than 200 deep'],
    ['metadata as a list', { __metadata__: [] }, 0, '__metadata__'],
    [
      'a tensor twice',
      '{"t":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"t":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}',
      1,
      'the key "t" twice',
    ],
    [
      'a key twice in an entry',
      '{"t":{"dtype":"U8","dtype":"I8","shape":[1],"data_offsets":[0,1]}}',
      1,
      'the key "dtype" twice',
    ],
    ['a list', '[1]', 0, 'does not start with "{"'],
    ['leading space', ' {}', 0, 'does not start with "{"'],
    ['broken JSON', '{"t":', 0, 'not valid JSON'],
  ])('refuses %s', (_, header, dataBytes, message) => {
    expect(() => parse(header, dataBytes)).toThrow(message);
    expect(() => parse(header, dataBytes)).toThrow(SdaError);
    expect(() => parse(header, dataBytes)).toThrow('w.safetensors');
  });

  it('refuses a header that is not UTF-8', () => {
    const bytes = buildFile(new Uint8Array([0x7b, 0x22, 0xff, 0x22, 0x7d]));
    expect(() => parseHeader('w', bytes.length, bytes)).toThrow('not UTF-8');
  });

  it('reads back any layout of tensors, and refuses it one byte shorter or longer', () => {
    const dtypes = fc.constantFrom<TensorDtype>('F32', 'F16', 'BF16', 'U8', 'I64', 'F8_E4M3');
    const shapes = fc.array(fc.integer({ min: 0, max: 5 }), { maxLength: 3 });
    const names = fc.uniqueArray(fc.string({ minLength: 1 }), { minLength: 1, maxLength: 8 });
    fc.assert(
      fc.property(names, fc.infiniteStream(fc.tuple(dtypes, shapes)), (keys, specs) => {
        const wanted = keys
          .filter((key) => key !== '__metadata__')
          .map((name) => ({ name, spec: specs.next().value as [TensorDtype, number[]] }));
        let end = 0;
        const members = wanted.map(({ name, spec: [dtype, shape] }) => {
          const begin = end;
          end += tensorByteLength(dtype, shape) ?? 0;
          return `${JSON.stringify(name)}:${JSON.stringify(entry(dtype, shape, begin, end))}`;
        });
        const text = `{${members.reverse().join(',')}}`;
        const { tensors } = parse(text, end);
        for (const {
          name,
          spec: [dtype, shape],
        } of wanted) {
          expect(tensors.get(name)).toMatchObject({ dtype, shape });
        }
        expect(() => parse(text, end + 1)).toThrow('trailing');
        if (end > 0) expect(() => parse(text, end - 1)).toThrow('truncated');
      }),
    );
  });

  it('never throws anything but SdaError, whatever the JSON', () => {
    const values = fc.oneof(
      fc.jsonValue(),
      fc.record({
        dtype: fc.constantFrom('F32', 'X'),
        shape: fc.jsonValue(),
        data_offsets: fc.jsonValue(),
      }),
    );
    fc.assert(
      fc.property(fc.dictionary(fc.string(), values), fc.nat(64), (header, dataBytes) => {
        try {
          parse(header, dataBytes);
        } catch (error) {
          expect(error).toBeInstanceOf(SdaError);
        }
      }),
    );
  });
});

describe('tensorByteLength', () => {
  it('knows the size of every dtype of the format', () => {
    for (const dtype of Object.keys(DTYPE_BITS) as TensorDtype[]) {
      expect(tensorByteLength(dtype, [8])).toBe(DTYPE_BITS[dtype]);
    }
  });
});

describe('readHeader', () => {
  async function read(bytes: Uint8Array) {
    const dir = await temporaryFolder({ 'w.safetensors': bytes });
    return readHeader(join(dir, 'w.safetensors'));
  }

  it.each<[string, Uint8Array, string]>([
    [
      'a length of 2^64 - 1',
      buildFile('{}', 0, 2n ** 64n - 1n),
      'a header of 18446744073709551615 bytes',
    ],
    [
      'a length above the limit',
      buildFile('{}', 0, BigInt(MAX_HEADER_BYTES) + 1n),
      'at most 100000000',
    ],
    ['a length past the end', buildFile('{}', 0, 3n), 'a header of 3 bytes where 2 follow'],
    ['an empty file', new Uint8Array(0), 'has 0 bytes'],
    ['seven bytes', new Uint8Array(7), 'has 7 bytes'],
    ['a zero length', buildFile(''), 'does not start'],
    [
      'a Git LFS pointer',
      new TextEncoder().encode('version https://git-lfs.github.com/spec/v1\noid sha256:0'),
      'Git LFS pointer',
    ],
  ])('refuses %s', async (_, bytes, message) => {
    await expect(read(bytes)).rejects.toThrow(message);
    await expect(read(bytes)).rejects.toMatchObject({ code: 'bad-file' });
  });

  it('reads a header of more than 4 MiB', async () => {
    const header: Record<string, unknown> = {};
    for (let i = 0; i < 50_000; i++)
      header[`model.layers.${i}.some.long.name.weight`] = entry('U8', [1], i, i + 1);
    const bytes = buildFile(JSON.stringify(header), 50_000);
    expect(bytes.length).toBeGreaterThan(4 * 1024 * 1024);
    expect((await read(bytes)).tensors.size).toBe(50_000);
  });

  it('says that a file is missing', async () => {
    const file = join(await temporaryFolder(), 'none.safetensors');
    await expect(readHeader(file)).rejects.toMatchObject({ code: 'file-missing' });
    await writeFile(file, buildFile('{}'));
    expect((await readHeader(file)).tensors.size).toBe(0);
  });
});
