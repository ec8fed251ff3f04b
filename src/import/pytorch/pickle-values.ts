/** A class or function that a pickle names; nothing of it is looked up or called. */
export class Global {
  constructor(readonly name: string) {}
}

/** What a pickle's own instructions can make, and what {@link PickleHandlers} make of the rest. */
export type PickleValue =
  | null
  | boolean
  | number
  | bigint
  | string
  | Uint8Array
  | Global
  | readonly PickleValue[]
  | PickleList
  | PickleDict
  | object;

/** A list or set; apart from a tuple, which is an array. */
export class PickleList {
  readonly items: PickleValue[] = [];
}

/** A dict in the order of its keys. */
export class PickleDict {
  readonly entries = new Map<PickleValue, PickleValue>();
}

/** Where the values of a container begin. */
export const MARK = Symbol('mark');
