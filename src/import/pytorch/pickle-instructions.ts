import type { Machine } from './pickle.js';
import { MARK, PickleDict, PickleList, type PickleValue } from './pickle-values.js';

/** Ends a pickle with the value on top. */
export const STOP = 0x2e;

/** By their code. Source: Python's Lib/pickletools.py. */
export const INSTRUCTIONS: ReadonlyMap<number, (machine: Machine) => void> = new Map<
  number,
  (machine: Machine) => void
>([
  [0x80, (m) => m.take(1)], // PROTO
  [0x95, (m) => m.take(8)], // FRAME
  [0x28, (m) => m.push(MARK)],
  [0x30, (m) => m.popAny()], // POP
  [0x31, (m) => m.popToMark()], // POP_MARK
  [0x32, (m) => m.push(m.top())], // DUP
  // values
  [0x4e, (m) => m.push(null)],
  [0x88, (m) => m.push(true)],
  [0x89, (m) => m.push(false)],
  [0x4a, (m) => m.push(m.int32())], // BININT
  [0x4b, (m) => m.push(m.unsigned(1))], // BININT1
  [0x4d, (m) => m.push(m.unsigned(2))], // BININT2
  [0x8a, (m) => m.push(m.long(m.unsigned(1)))], // LONG1
  [0x8b, (m) => m.push(m.long(m.unsigned(4)))], // LONG4
  [0x47, (m) => m.push(m.float64())], // BINFLOAT
  [0x8c, (m) => m.push(m.utf8(m.unsigned(1)))], // SHORT_BINUNICODE
  [0x58, (m) => m.push(m.utf8(m.unsigned(4)))], // BINUNICODE
  [0x8d, (m) => m.push(m.utf8(m.length64()))], // BINUNICODE8
  [0x55, (m) => m.push(m.utf8(m.unsigned(1)))], // SHORT_BINSTRING, Python 2's str
  [0x54, (m) => m.push(m.utf8(m.unsigned(4)))], // BINSTRING
  [0x43, (m) => m.push(m.take(m.unsigned(1)))], // SHORT_BINBYTES
  [0x42, (m) => m.push(m.take(m.unsigned(4)))], // BINBYTES
  [0x8e, (m) => m.push(m.take(m.length64()))], // BINBYTES8
  // containers
  [0x29, (m) => m.push([])], // EMPTY_TUPLE
  [0x85, (m) => m.push(m.popTuple(1))],
  [0x86, (m) => m.push(m.popTuple(2))],
  [0x87, (m) => m.push(m.popTuple(3))],
  [0x74, (m) => m.push(m.popToMark())], // TUPLE
  [0x5d, (m) => m.push(new PickleList())], // EMPTY_LIST
  [0x6c, (m) => m.listOf(m.popToMark())], // LIST
  [0x61, (m) => m.append([m.pop()])], // APPEND
  [0x65, (m) => m.append(m.popToMark())], // APPENDS
  [0x7d, (m) => m.push(new PickleDict())], // EMPTY_DICT
  [0x64, (m) => m.dictOf(m.popToMark())], // DICT
  [0x73, (m) => m.setItems(m.popTuple(2))], // SETITEM
  [0x75, (m) => m.setItems(m.popToMark())], // SETITEMS
  [0x8f, (m) => m.push(new PickleList())], // EMPTY_SET
  [0x90, (m) => m.append(m.popToMark())], // ADDITEMS
  [0x91, (m) => m.listOf(m.popToMark())], // FROZENSET
  // memory
  [0x71, (m) => m.put(m.unsigned(1))], // BINPUT
  [0x72, (m) => m.put(m.unsigned(4))], // LONG_BINPUT
  [0x94, (m) => m.memoize()],
  [0x68, (m) => m.get(m.unsigned(1))], // BINGET
  [0x6a, (m) => m.get(m.unsigned(4))], // LONG_BINGET
  // what is named
  [0x63, (m) => m.global(m.line(), m.line())], // GLOBAL
  [0x93, (m) => m.global(...(m.popTuple(2) as [PickleValue, PickleValue]))], // STACK_GLOBAL
  [0x52, (m) => m.call()], // REDUCE
  [0x81, (m) => m.call()], // NEWOBJ
  [0x62, (m) => m.build()],
  [0x51, (m) => m.persistent()], // BINPERSID
]);
