import { SdaError } from '../../errors.js';
import { INSTRUCTIONS, STOP } from './pickle-instructions.js';
import { MARK, PickleDict, PickleList, type PickleValue } from './pickle-values.js';

/** What gives the named things of a pickle their meaning. Each throws an SdaError for what it does not know. */
export interface PickleHandlers {
  global(name: string): PickleValue;
  /** A call, `callable(...args)` */
  call(callable: PickleValue, args: readonly PickleValue[]): PickleValue;
  /** `object.__setstate__(state)` */
  build(object: PickleValue, state: PickleValue): void;
  persistent(id: PickleValue): PickleValue;
}

/** More instructions than any checkpoint's pickle has. */
const MOST_STEPS = 5_000_000;

/**
 * Runs a pickle of protocol 2 to 5 (and of Python 2, which wrote 2) with a machine that knows values and containers
 * and calls nothing: what a pickle names goes to `handlers`.
 * Source: Python's Lib/pickletools.py.
 * @throws SdaError `bad-file` for a damaged pickle, `unsupported` for an instruction that no checkpoint needs.
 */
export function readPickle(
  bytes: Uint8Array,
  handlers: PickleHandlers,
  what: string,
): { readonly value: PickleValue; readonly length: number } {
  return new Machine(bytes, handlers, what).run();
}

type Slot = PickleValue | typeof MARK;

/** What runs a pickle; its methods are what instructions do. */
export class Machine {
  private at = 0;
  private stack: Slot[] = [];
  private readonly memo = new Map<number, PickleValue>();
  private readonly view: DataView;

  constructor(
    private readonly bytes: Uint8Array,
    private readonly handlers: PickleHandlers,
    private readonly what: string,
  ) {
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  run() {
    for (let step = 0; step < MOST_STEPS; step++) {
      const code = this.unsigned(1);
      if (code === STOP) return { value: this.pop(), length: this.at };
      const instruction = INSTRUCTIONS.get(code);
      if (!instruction) throw this.unknown(code);
      instruction(this);
    }
    throw this.damaged(`has more than ${MOST_STEPS} instructions`);
  }

  private unknown(code: number): SdaError {
    return new SdaError(
      'unsupported',
      `${this.what} holds the pickle instruction 0x${code.toString(16).padStart(2, '0')} at byte ${this.at - 1}, which no file of tensors needs; save the plain state_dict with torch.save.`,
    );
  }

  damaged(how: string): SdaError {
    return new SdaError(
      'bad-file',
      `${this.what} ${how} at byte ${this.at}; it is damaged, download it again.`,
    );
  }

  /** The next `length` bytes, in place. */
  take(length: number): Uint8Array {
    if (length > this.bytes.length - this.at) throw this.damaged('ends in the middle of a value');
    this.at += length;
    return this.bytes.subarray(this.at - length, this.at);
  }

  unsigned(size: 1 | 2 | 4): number {
    const at = this.at;
    this.take(size);
    if (size === 1) return this.view.getUint8(at);
    return size === 2 ? this.view.getUint16(at, true) : this.view.getUint32(at, true);
  }

  int32(): number {
    return this.unsigned(4) | 0;
  }

  float64(): number {
    const at = this.at;
    this.take(8);
    return this.view.getFloat64(at, false);
  }

  /** A length of eight bytes. */
  length64(): number {
    const low = this.unsigned(4);
    return this.unsigned(4) * 2 ** 32 + low;
  }

  utf8(length: number): string {
    return new TextDecoder().decode(this.take(length));
  }

  /** Up to a line's end. */
  line(): string {
    const end = this.bytes.indexOf(10, this.at);
    if (end < 0) throw this.damaged('ends in the middle of a line');
    const text = this.utf8(end - this.at);
    this.at++;
    return text;
  }

  /** A signed integer of so many bytes, little-endian. */
  long(length: number): number | bigint {
    if (length > 16) throw this.damaged(`holds an integer of ${length} bytes`);
    let value = 0n;
    const digits = this.take(length);
    digits.forEach((digit, i) => {
      value |= BigInt(digit) << BigInt(8 * i);
    });
    value = BigInt.asIntN(8 * length, value);
    return Number.isSafeInteger(Number(value)) ? Number(value) : value;
  }

  push(value: Slot): void {
    this.stack.push(value);
  }

  pop(): PickleValue {
    const value = this.stack.pop();
    if (value === undefined || value === MARK)
      throw this.damaged('takes a value that is not there');
    return value;
  }

  popAny(): void {
    if (this.stack.pop() === undefined) throw this.damaged('takes a value that is not there');
  }

  top(): PickleValue {
    const value = this.stack.at(-1);
    if (value === undefined || value === MARK)
      throw this.damaged('takes a value that is not there');
    return value;
  }

  /** The values after the last mark, which goes with them. */
  popToMark(): PickleValue[] {
    const mark = this.stack.lastIndexOf(MARK);
    if (mark < 0) throw this.damaged('takes values back to a mark that is not there');
    return this.stack.splice(mark).slice(1) as PickleValue[];
  }

  popTuple(size: number): PickleValue[] {
    const values: PickleValue[] = [];
    for (let i = 0; i < size; i++) values.unshift(this.pop());
    return values;
  }

  put(index: number): void {
    this.memo.set(index, this.top());
  }

  /** For the next free index. */
  memoize(): void {
    this.put(this.memo.size);
  }

  get(index: number): void {
    const value = this.memo.get(index);
    if (value === undefined) throw this.damaged(`asks for value ${index}, which it never kept`);
    this.push(value);
  }

  setItems(pairs: readonly PickleValue[]): void {
    const dict = this.top();
    if (!(dict instanceof PickleDict)) throw this.damaged('sets an item of what is no dict');
    if (pairs.length % 2 !== 0) throw this.damaged('has a key without a value');
    for (let i = 0; i < pairs.length; i += 2) dict.entries.set(pairs[i]!, pairs[i + 1]!);
  }

  append(items: readonly PickleValue[]): void {
    const list = this.top();
    if (!(list instanceof PickleList)) throw this.damaged('appends to what is no list');
    for (const item of items) list.items.push(item);
  }

  dictOf(pairs: readonly PickleValue[]): void {
    this.push(new PickleDict());
    this.setItems(pairs);
  }

  listOf(items: readonly PickleValue[]): void {
    this.push(new PickleList());
    this.append(items);
  }

  global(module: PickleValue, name: PickleValue): void {
    if (typeof module !== 'string' || typeof name !== 'string') {
      throw this.damaged('names a class by what is no text');
    }
    this.push(this.handlers.global(`${module}.${name}`));
  }

  call(): void {
    const args = this.pop();
    const callable = this.pop();
    if (!Array.isArray(args)) throw this.damaged('calls with arguments that are no tuple');
    this.push(this.handlers.call(callable, args));
  }

  build(): void {
    const state = this.pop();
    this.handlers.build(this.top(), state);
  }

  persistent(): void {
    this.push(this.handlers.persistent(this.pop()));
  }
}
