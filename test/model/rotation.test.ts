import { expect, test } from 'vitest';
import type { ModelConfig } from '../../src/model/config.js';
import { rotations } from '../../src/model/rotation.js';
import { expectClose } from '../support/close.js';
import { TOLERANCE } from '../support/tolerances.js';

function configOf(rope: object): ModelConfig {
  return { headDim: 4, rope } as unknown as ModelConfig;
}

test('are cosines, then sines, of position times theta^(-2 i / headDim)', () => {
  // theta = 10000, headDim = 4: frequencies 1 and 0.01
  const table = rotations(configOf({ type: 'default', theta: 10_000 }), Int32Array.of(0, 1, 250));
  expectClose(
    table,
    [0, 1, 250].flatMap((p) => [Math.cos(p), Math.cos(p / 100), Math.sin(p), Math.sin(p / 100)]),
    TOLERANCE.kernel,
  );
});

test('padding has the angles of position 0', () => {
  const table = rotations(configOf({ type: 'default', theta: 10_000 }), Int32Array.of(-1, 3));
  expect([...table.slice(0, 4)]).toEqual([1, 1, 0, 0]);
});

test('linear scaling divides the position', () => {
  const plain = rotations(configOf({ type: 'default', theta: 10_000 }), Int32Array.of(3));
  const scaled = rotations(
    configOf({ type: 'linear', theta: 10_000, factor: 2 }),
    Int32Array.of(6),
  );
  expectClose(scaled, plain, TOLERANCE.kernel);
});

test('dynamic scaling starts beyond the trained length, and is not remembered', () => {
  const config = configOf({ type: 'dynamic', theta: 10_000, factor: 2, originalMaxPosition: 16 });
  const plain = rotations(configOf({ type: 'default', theta: 10_000 }), Int32Array.of(3, 15));
  expectClose(rotations(config, Int32Array.of(3, 15)), plain, TOLERANCE.kernel);
  const long = rotations(config, Int32Array.of(3, 31));
  expect(Math.abs(long[1]! - plain[1]!)).toBeGreaterThan(TOLERANCE.kernel);
  expectClose(rotations(config, Int32Array.of(3, 15)), plain, TOLERANCE.kernel);
});

test('a scaling factor of yarn multiplies cosines and sines', () => {
  const yarn = {
    type: 'yarn',
    theta: 10_000,
    factor: 4,
    originalMaxPosition: 16,
    betaFast: 32,
    betaSlow: 1,
    truncate: true,
    attentionFactor: 1.5,
    mscale: null,
    mscaleAllDim: null,
  };
  const [cos0, cos1, sin0, sin1] = rotations(configOf(yarn), Int32Array.of(5));
  expectClose([Math.hypot(cos0!, sin0!), Math.hypot(cos1!, sin1!)], [1.5, 1.5], TOLERANCE.kernel);
});
