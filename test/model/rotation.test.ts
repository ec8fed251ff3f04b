import { expect, test } from 'vitest';
import type { ModelConfig } from '../../src/model/config.js';
import { rotationLength, rotations } from '../../src/model/rotation.js';
import { expectClose } from '../support/close.js';
import { TOLERANCE } from '../support/tolerances.js';

function configOf(rope: object): ModelConfig {
  return { headDim: 4, rotaryDim: 4, attentionScale: null, rope } as unknown as ModelConfig;
}

/** The angles of some positions. */
function at(table: Float32Array, ...positions: number[]): number[] {
  return positions.flatMap((position) => [...table.slice(4 * position, 4 * position + 4)]);
}

test('are cosines, then sines, of position times theta^(-2 i / headDim)', () => {
  // theta = 10000, headDim = 4: frequencies 1 and 0.01
  const table = rotations(configOf({ type: 'default', theta: 10_000 }), 251);
  expect(table).toHaveLength(4 * 251);
  expectClose(
    at(table, 0, 1, 250),
    [0, 1, 250].flatMap((p) => [Math.cos(p), Math.cos(p / 100), Math.sin(p), Math.sin(p / 100)]),
    TOLERANCE.kernel,
  );
});

test('linear scaling divides the position', () => {
  const plain = rotations(configOf({ type: 'default', theta: 10_000 }), 4);
  const scaled = rotations(configOf({ type: 'linear', theta: 10_000, factor: 2 }), 7);
  expectClose(at(scaled, 6), at(plain, 3), TOLERANCE.kernel);
});

test('dynamic scaling starts beyond the trained length', () => {
  const config = configOf({ type: 'dynamic', theta: 10_000, factor: 2, originalMaxPosition: 16 });
  const plain = at(rotations(configOf({ type: 'default', theta: 10_000 }), 16), 3, 15);
  expectClose(at(rotations(config, 16), 3, 15), plain, TOLERANCE.kernel);
  const long = at(rotations(config, 16, 32), 3);
  expect(Math.abs(long[1]! - plain[1]!)).toBeGreaterThan(TOLERANCE.kernel);
  expect(rotationLength(config, 5)).toBe(rotationLength(config, 16));
  expect(rotationLength(config, 17)).not.toBe(rotationLength(config, 16));
});

test('a length in use changes no other angles', () => {
  const config = configOf({ type: 'default', theta: 10_000 });
  expect(rotations(config, 8, 1000)).toEqual(rotations(config, 8));
  expect(rotationLength(config, 8)).toBe(rotationLength(config, 1000));
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
  const [cos0, cos1, sin0, sin1] = at(rotations(configOf(yarn), 6), 5);
  expectClose([Math.hypot(cos0!, sin0!), Math.hypot(cos1!, sin1!)], [1.5, 1.5], TOLERANCE.kernel);
});
