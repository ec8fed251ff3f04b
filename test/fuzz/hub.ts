import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { openCheckpoint } from '../../src/checkpoint/checkpoint.js';
import { loadDecoder } from '../../src/model/load-model.js';
import { HUB, type HubName, hubDir } from '../support/hub.js';
import { type Stored, safetensorsFile } from '../support/safetensors.js';
import { json, root } from './files.js';
import { type Dice, type Json, mutateJson } from './mutate.js';
import { expectAccepted, fuzz } from './outcome.js';

const DTYPES = ['I32', 'U8', 'I8', 'F8_E4M3', 'F16', 'BF16', 'F32', 'I64', 'U32'];

it('quantised weights of other makers: they load, or a sentence says what does not fit', async () => {
  const dir = join(root, 'hub');
  mkdirSync(dir);
  const seeds = new Map<HubName, readonly Stored[]>();
  for (const name of HUB) seeds.set(name, await tensorsOf(hubDir(name)));
  const { accepted } = await fuzz(600, [dir], async (dice) => {
    const name = dice.pick(HUB);
    const config = json(join(hubDir(name), 'config.json')) as { [key: string]: Json };
    if (dice.below(3) === 0) {
      config.quantization_config = mutateJson(config.quantization_config!, dice);
    }
    writeFileSync(join(dir, 'config.json'), JSON.stringify(config));
    let tensors = seeds.get(name)!;
    for (let times = dice.below(3); times > 0; times--) tensors = damaged(tensors, dice);
    writeFileSync(join(dir, 'model.safetensors'), safetensorsFile(tensors));
    const model = await loadDecoder(dir);
    expect(model.weights.layers.length).toBe(config.num_hidden_layers);
    model.dispose();
  });
  expectAccepted(accepted, 100);
});

async function tensorsOf(dir: string): Promise<readonly Stored[]> {
  const checkpoint = await openCheckpoint(dir);
  const tensors: Stored[] = [];
  for (const [name, { dtype, shape }] of checkpoint.tensors) {
    tensors.push({ name, dtype, shape, bytes: await checkpoint.read(name) });
  }
  await checkpoint.close();
  return tensors;
}

/** The tensors with one that is missing, of another name, shape or dtype, or with other bytes. */
function damaged(tensors: readonly Stored[], dice: Dice): readonly Stored[] {
  const tensor = dice.pick(tensors);
  const others = tensors.filter((each) => each !== tensor);
  switch (dice.below(5)) {
    case 0:
      return others;
    case 1: {
      const part = dice.pick(tensors).name.replace(/^.*\./, '.');
      const name = tensor.name.replace(/\.[^.]*$/, part);
      return [...others.filter((each) => each.name !== name), { ...tensor, name }];
    }
    case 2:
      return [...others, resized(tensor, dice)];
    case 3:
      return [...others, retyped(tensor, dice.pick(DTYPES))];
    default: {
      const bytes = tensor.bytes.slice();
      for (let i = 1 + dice.below(8); i > 0 && bytes.length > 0; i--) {
        bytes[dice.below(bytes.length)] = dice.pick([0, 127, 128, 255, dice.below(256)]);
      }
      return [...others, { ...tensor, bytes }];
    }
  }
}

/** With a line more or less along one axis, or one axis more or less. */
function resized(tensor: Stored, dice: Dice): Stored {
  const shape = [...tensor.shape];
  const axis = dice.below(shape.length + 1);
  if (axis === shape.length) shape.push(1);
  else shape[axis] = Math.max(0, shape[axis]! + dice.pick([-1, 1]));
  const count = (sizes: readonly number[]) => sizes.reduce((product, size) => product * size, 1);
  const width = tensor.bytes.length / count(tensor.shape);
  const bytes = new Uint8Array(width * count(shape));
  bytes.set(tensor.bytes.subarray(0, bytes.length));
  return { ...tensor, shape, bytes };
}

/** The same bytes as elements of another dtype of the same width, or as bytes. */
function retyped(tensor: Stored, dtype: string): Stored {
  const width = { I64: 8, I32: 4, U32: 4, F32: 4, F16: 2, BF16: 2 }[dtype] ?? 1;
  const before = tensor.bytes.length / tensor.shape.reduce((product, size) => product * size, 1);
  const shape = width === before ? tensor.shape : [Math.floor(tensor.bytes.length / width)];
  const bytes = tensor.bytes.slice(0, width * shape.reduce((product, size) => product * size, 1));
  return { ...tensor, dtype, shape, bytes };
}
