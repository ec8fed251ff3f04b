import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { packageRoot } from '../../src/runtime/paths.js';

const ROOT = packageRoot();
const KERNELS = readdirSync(join(ROOT, 'kernels'), { withFileTypes: true })
  .filter((entry) => entry.isDirectory())
  .map(({ name }) => name);

describe('a kernel and its parts are found by one name', () => {
  it('for every kernel that is there', () => {
    expect(KERNELS).toContain('step');
  });

  describe.each(KERNELS)('%s', (kernel) => {
    it.each([
      ['its wrapper', `kernels/${kernel}/index.ts`],
      ['its reference', `kernels/${kernel}/reference.ts`],
      ['its test', `test/kernels/${kernel}.test.ts`],
      ['its benchmark', `bench/kernels/${kernel}.bench.ts`],
    ])('has %s', (_, file) => {
      expect(existsSync(join(ROOT, file)), file).toBe(true);
    });

    it('has op.cc exactly where its wrapper has a native form', () => {
      const wrapper = readFileSync(join(ROOT, 'kernels', kernel, 'index.ts'), 'utf8');
      const native = /^\s*native(:|\(|,)/m.test(wrapper);
      expect(existsSync(join(ROOT, 'kernels', kernel, 'op.cc'))).toBe(native);
    });

    it('has a check of its CUDA form exactly where it has one', () => {
      const exists = (file: string) => existsSync(join(ROOT, file));
      expect(exists(`test/cuda/${kernel}.cu`)).toBe(exists(`kernels/${kernel}/cuda.cu`));
      expect(exists(`kernels/${kernel}/cuda.h`)).toBe(exists(`kernels/${kernel}/cuda.cu`));
    });

    it('is held against the one reference by its test and its benchmark', () => {
      const uses = `kernels/${kernel}/`;
      for (const file of [`test/kernels/${kernel}.test.ts`, `bench/kernels/${kernel}.bench.ts`]) {
        expect(readFileSync(join(ROOT, file), 'utf8'), file).toContain(uses);
      }
    });
  });

  it('and no test or benchmark is left of a kernel that is gone', () => {
    const named = (folder: string, suffix: string) =>
      existsSync(join(ROOT, folder))
        ? readdirSync(join(ROOT, folder))
            .filter((file) => file.endsWith(suffix))
            .map((file) => file.slice(0, -suffix.length))
        : [];
    const parts = [...named('test/kernels', '.test.ts'), ...named('bench/kernels', '.bench.ts')];
    expect(parts.filter((name) => !KERNELS.includes(name))).toEqual([]);
  });
});
