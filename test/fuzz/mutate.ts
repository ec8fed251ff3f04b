import { uniformInt } from 'pure-rand/distribution/uniformInt';
import { xoroshiro128plus } from 'pure-rand/generator/xoroshiro128plus';

/** Random choices that a seed repeats. */
export class Dice {
  private readonly generator;

  constructor(seed: number) {
    this.generator = xoroshiro128plus(seed);
  }

  /** 0..n-1 */
  below(n: number): number {
    return uniformInt(this.generator, 0, n - 1);
  }

  pick<T>(values: readonly T[]): T {
    return values[this.below(values.length)]!;
  }
}

/** A value that no place in a JSON file expects. */
export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

const NUMBERS = [
  0,
  -0,
  1,
  -1,
  2,
  1.5,
  -0.5,
  1e-320,
  1e-38,
  1e308,
  -1e308,
  2 ** 31 - 1,
  2 ** 31,
  2 ** 32 + 1,
  2 ** 53,
  -(2 ** 53),
];
const TEXTS = [
  '',
  ' ',
  'x',
  '\0',
  '../x',
  '/etc/hostname',
  '__proto__',
  'constructor',
  '\ud800',
  '\u001b[2J\nok.',
  '{{',
  '(a+)+$',
  'F32',
  'null',
  'x'.repeat(5000),
];
const KEYS = [
  '__proto__',
  'constructor',
  'toString',
  'length',
  '',
  '0',
  '-1',
  '__metadata__',
  'type',
  'id',
];

function hostile(dice: Dice): Json {
  switch (dice.below(8)) {
    case 0:
      return null;
    case 1:
      return dice.below(2) === 0;
    case 2:
    case 3:
      return dice.pick(NUMBERS);
    case 4:
    case 5:
      return dice.pick(TEXTS);
    case 6:
      return nested(dice.pick([1, 3, 60, 3000]), dice.below(2) === 0);
    default:
      return dice.pick<Json>([
        [],
        {},
        [null],
        [[]],
        { a: {} },
        { toString: 1 },
        Array(300).fill(0),
        [1e308, 1e308],
      ]);
  }
}

function nested(depth: number, list: boolean): Json {
  let value: Json = 1;
  for (let i = 0; i < depth; i++) value = list ? [value] : { a: value };
  return value;
}

/** Changes one or a few places of a value, in place where it can; keys, values, order, types. */
export function mutateJson(value: Json, dice: Dice): Json {
  let result = value;
  for (let times = 1 + dice.below(3); times > 0; times--) result = mutateOnce(result, dice);
  return result;
}

function mutateOnce(value: Json, dice: Dice): Json {
  if (typeof value !== 'object' || value === null || dice.below(40) === 0) return hostile(dice);
  if (Array.isArray(value)) {
    const at = dice.below(value.length + 1);
    const action = dice.below(6);
    if (action === 0) value.splice(at, 1);
    else if (action === 1) value.splice(at, 0, hostile(dice));
    else if (action === 2 && value.length > 0) value.push(value[dice.below(value.length)]!);
    else if (at < value.length) value[at] = mutateOnce(value[at]!, dice);
    return value;
  }
  const keys = Object.keys(value);
  const key = keys.length > 0 ? dice.pick(keys) : dice.pick(KEYS);
  const action = dice.below(8);
  if (action === 0) delete value[key];
  else if (action === 1) define(value, dice.pick(KEYS), hostile(dice));
  else if (action === 2) define(value, dice.pick(keys.length > 0 ? keys : KEYS), own(value, key));
  else define(value, key, mutateOnce(own(value, key), dice));
  return value;
}

function own(object: { [key: string]: Json }, key: string): Json {
  return Object.hasOwn(object, key) ? object[key]! : null;
}

/** Also the key __proto__ as an own one, as JSON.parse makes it. */
function define(object: { [key: string]: Json }, key: string, value: Json): void {
  Object.defineProperty(object, key, {
    value,
    enumerable: true,
    configurable: true,
    writable: true,
  });
}

/** Cuts, flips, repeats and inserts bytes. */
export function mutateBytes(bytes: Uint8Array, dice: Dice): Uint8Array {
  const at = dice.below(bytes.length + 1);
  const other = dice.below(bytes.length + 1);
  const [from, to] = [Math.min(at, other), Math.max(at, other)];
  switch (dice.below(5)) {
    case 0:
      return bytes.slice(0, at);
    case 1: {
      const copy = bytes.slice();
      for (let i = 1 + dice.below(4); i > 0 && copy.length > 0; i--) {
        const place = dice.below(copy.length);
        copy[place] = copy[place]! ^ (1 << dice.below(8));
      }
      return copy;
    }
    case 2:
      return joined(bytes.slice(0, from), bytes.slice(to));
    case 3:
      return joined(bytes.slice(0, to), bytes.slice(from));
    default: {
      const extra = Uint8Array.from({ length: 1 + dice.below(12) }, () => dice.below(256));
      return joined(bytes.slice(0, at), extra, bytes.slice(at));
    }
  }
}

/** The same for a text, with pieces that its language knows. */
export function mutateText(text: string, pieces: readonly string[], dice: Dice): string {
  const at = dice.below(text.length + 1);
  const to = Math.min(text.length, at + dice.below(30));
  switch (dice.below(4)) {
    case 0:
      return text.slice(0, at) + text.slice(to);
    case 1:
      return text.slice(0, at) + dice.pick(pieces) + text.slice(to);
    case 2:
      return text.slice(0, to) + text.slice(at);
    default:
      return text.slice(0, at) + dice.pick(pieces) + text.slice(at);
  }
}

export function joined(...parts: readonly Uint8Array[]): Uint8Array {
  return Uint8Array.from(Buffer.concat(parts));
}
