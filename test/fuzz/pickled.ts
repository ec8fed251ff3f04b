import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { Checkpoint } from '../../src/checkpoint/checkpoint.js';
import { openPickled } from '../../src/import/pytorch/checkpoint.js';
import { fixture } from '../import/fixtures.js';
import { pathsOpened, root } from './files.js';
import { type Dice, mutateBytes } from './mutate.js';
import { expectAccepted, fuzz, largestBuffer } from './outcome.js';

/** Globals and instructions that a hostile pickle would add. */
const PIECES = [
  'cposix\nsystem\n',
  'cos\nsystem\n(X\x03\0\0\0a.btR',
  'c__builtin__\neval\n',
  'ctorch._utils\n_rebuild_tensor_v2\n',
  'ctorch\nFloatStorage\n',
  '\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f',
  '\x8d\xff\xff\xff\xff\xff\xff\xff\xff',
  'X\xff\xff\xff\x7f',
  '((((((((((((',
  '222222222222',
  't}](e.RbQ\x81\x93',
  'j\xff\xff\xff\xff',
].map((text) => Buffer.from(text, 'latin1'));

const INTEGERS = [0, 0, 1, 255, 65_536, 2 ** 31 - 1, -1];

/** Other sizes, strides and offsets: integers of one byte become such of four. Only the older form lets bytes move. */
function otherIntegers(bytes: Uint8Array, dice: Dice): Uint8Array {
  let changed = Buffer.from(bytes);
  for (let times = 1 + dice.below(4); times > 0; times--) {
    const at = changed.indexOf('K', 150 + dice.below(2500), 'latin1');
    if (at < 0) continue;
    const integer = Buffer.alloc(5, 'J');
    integer.writeInt32LE(dice.pick(INTEGERS), 1);
    changed = Buffer.concat([changed.subarray(0, at), integer, changed.subarray(at + 2)]);
  }
  return changed;
}

/** Other sizes and strides of one tensor of two axes; strides of 0 repeat its elements. */
function otherView(bytes: Uint8Array, dice: Dice): Uint8Array {
  const text = Buffer.from(bytes).toString('latin1');
  const pairs = /K[\s\S]K[\s\S]\x86(?:q.|\x94)?K[\s\S]K[\s\S]\x86/g;
  const found = [...text.matchAll(pairs)];
  const { 0: whole, index } = dice.pick(found);
  const pair = (choices: readonly number[]) => {
    const integers = Buffer.alloc(10, 'J');
    for (const at of [1, 6]) integers.writeInt32LE(dice.pick(choices), at);
    return `${integers.toString('latin1')}\x86`;
  };
  const changed = `${text.slice(0, index)}${pair([3, 255, 5000])}${pair([0, 0, 1])}${text.slice(index + whole.length)}`;
  return Buffer.from(changed, 'latin1');
}

/** A mutated file: another byte, other bytes, or half of the time another pickle, which the rest of an archive hides. */
function mutated(bytes: Uint8Array, dice: Dice): Uint8Array {
  if (dice.below(4) === 0) {
    const copy = bytes.slice();
    copy[dice.below(copy.length)] = dice.below(256);
    return copy;
  }
  if (dice.below(3) === 0) return mutateBytes(bytes, dice);
  if (bytes[0] === 0x80) return (dice.below(2) === 0 ? otherIntegers : otherView)(bytes, dice);
  const copy = Buffer.from(bytes);
  const start = Math.max(0, copy.indexOf('\x80', 0, 'latin1'));
  for (let times = 1 + dice.below(4); times > 0; times--) {
    const at = start + dice.below(Math.min(2500, copy.length - start));
    if (dice.below(3) === 0) dice.pick(PIECES).copy(copy, at);
    else copy[at] = dice.below(2) === 0 ? dice.below(256) : copy[start + dice.below(2000)]!;
  }
  return copy;
}

describe('files of torch.save', () => {
  const seeds = [
    'protocol-2.pt',
    'protocol-5.pt',
    'legacy.pt',
    'legacy.pt',
    'untyped.pt',
    'evil.pt',
  ].map((name) => new Uint8Array(readFileSync(fixture('pytorch', name))));

  it('run nothing, open nothing else, and take no more memory than they have', async () => {
    const file = join(root, 'mutated.pt');
    const { accepted } = await fuzz(250, [file], async (dice) => {
      const bytes = mutated(dice.pick(seeds), dice);
      writeFileSync(file, bytes);
      let failure: unknown;
      let checkpoint: Checkpoint | undefined;
      const largest = await largestBuffer(async () => {
        const paths = await pathsOpened(async () => {
          try {
            checkpoint = await openPickled(file);
            for (const name of checkpoint.tensors.keys()) await checkpoint.read(name);
          } catch (error) {
            failure = error;
          }
        });
        expect(paths.map((path) => resolve(path)).filter((path) => path !== file)).toEqual([]);
      });
      await checkpoint?.close();
      expect(largest).toBeLessThanOrEqual(bytes.length);
      expect(existsSync('code-of-a-pickle-ran')).toBe(false);
      if (failure) throw failure;
    });
    expectAccepted(accepted, 20);
  });
});
