import { tidy } from '@tensorflow/tfjs-core';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { makeDecoderLayer } from '../../kernels/decoder-layer/index.js';
import { quantise } from '../../kernels/quantise/index.js';
import { KvCache } from '../../src/model/kv-cache.js';
import { hasNativeKernel, quantisedForms } from '../../src/runtime/native.js';
import { relativeError } from '../support/close.js';
import {
  CALLS,
  configOf,
  decoderLayer,
  HIDDEN,
  inputsOf,
  realLines,
  runReference,
  shapeOf,
  weightsOf,
} from '../support/layers.js';
import { KERNEL_FORMS } from '../support/quantised.js';
import { Random } from '../support/random.js';
import { expectNoLeak, useTensorFlow, valuesOf } from '../support/tensorflow.js';

useTensorFlow();

const HEADS = { numHeads: 4, numKeyValueHeads: 2, headDim: 12 };
/** Which matrices are quantised; the others are float32, as hub checkpoints may have them. */
const QUANTISED: readonly (readonly ('qkvProj' | 'oProj' | 'gateUpProj' | 'downProj')[])[] = [
  ['qkvProj', 'oProj', 'gateUpProj', 'downProj'],
  ['gateUpProj'],
  ['downProj'],
];

afterEach(() => {
  delete process.env.SDA_ISA;
});

describe.for(KERNEL_FORMS)('by %s', (form) => {
  beforeEach(({ skip }) => {
    skip(!hasNativeKernel('SdaDecoderLayers'), 'the native kernels are left out');
    skip(!quantisedForms().includes(form), `this processor has no ${form}`);
    process.env.SDA_ISA = form;
  });

  test.for(QUANTISED.flatMap((names) => ([8, 4] as const).map((bits) => ({ names, bits }))))(
    'a layer with biases is its reference: $names in $bits bits',
    async ({ names, bits }) => {
      await expectNoLeak(() => {
        const [own, reference] = [0, 1].map(() => new KvCache(configOf(HEADS), 3, 40, 40));
        tidy(() => {
          const random = new Random(bits);
          const tensors = { ...weightsOf(HEADS, random, { biases: true }) };
          for (const name of names) {
            const parts = name === 'gateUpProj' ? 2 : 1;
            Object.assign(tensors, { [name]: quantise({ weight: tensors[name], bits, parts }) });
          }
          const layer = makeDecoderLayer(tensors, shapeOf(HEADS));
          const prompt = { rows: [1], positions: [Array.from({ length: 29 }, (_, i) => i)] };
          for (const call of [...CALLS, prompt]) {
            const args = { ...inputsOf(call, HEADS, random), layer, cache: own!.layer(0) };
            const found = realLines(valuesOf(decoderLayer(args)), call, HIDDEN);
            const expected = valuesOf(runReference(args, reference!.layer(0)));
            // x has 16 bits in each of four products
            expect(relativeError(found, realLines(expected, call, HIDDEN))).toBeLessThan(2e-4);
          }
          layer.handle?.dispose();
        });
        for (const cache of [own!, reference!]) cache.dispose();
      });
    },
  );
});
