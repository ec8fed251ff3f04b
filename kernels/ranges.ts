import { SdaError } from '../src/errors.js';

/** A number that a query gives to a kernel, for errors. */
export interface QueryNumber {
  readonly kernel: string;
  readonly query: number;
  readonly name: string;
  readonly value: number;
}

/** @throws SdaError `bad-input` naming kernel, query, number, range and value, where `holds` is not. */
export function checkNumber(number: QueryNumber, expected: string, holds: boolean): void {
  if (holds) return;
  const { kernel, query, name, value } = number;
  throw new SdaError(
    'bad-input',
    `${kernel}: ${name} of query ${query} must be ${expected}, but is ${value}.`,
  );
}

/** float32 holds whole numbers up to here exactly. */
const MOST_WHOLE = 2 ** 24;

/** Checks that a number is a top-k, 0 for none. Throws as `checkNumber` does. */
export function checkTopK(number: QueryNumber): void {
  const { value } = number;
  const holds = Number.isInteger(value) && value >= 0 && value <= MOST_WHOLE;
  checkNumber(number, `a whole number in 0..${MOST_WHOLE}`, holds);
}

/** Checks that a number lies in 0..1. Throws as `checkNumber` does. */
export function checkShare(number: QueryNumber): void {
  checkNumber(number, 'a number in 0..1', number.value >= 0 && number.value <= 1);
}
