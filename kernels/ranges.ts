import { SdaError } from '../src/errors.js';

/** The error of a number that a query gives to a kernel. */
export function outOfRange(
  kernel: string,
  query: number,
  name: string,
  expected: string,
  found: number,
): SdaError {
  return new SdaError(
    'bad-input',
    `${kernel}: ${name} of query ${query} must be ${expected}, but is ${found}.`,
  );
}

/** float32 holds whole numbers up to here exactly. */
const MOST_WHOLE = 2 ** 24;

/** Checks top-k, 0 for none, and shares in 0..1, by name. @throws SdaError `bad-input` */
export function checkCuts(
  kernel: string,
  query: number,
  topK: number,
  shares: Readonly<Record<string, number>>,
): void {
  if (!(Number.isInteger(topK) && topK >= 0 && topK <= MOST_WHOLE)) {
    throw outOfRange(kernel, query, 'topK', `a whole number in 0..${MOST_WHOLE}`, topK);
  }
  for (const name in shares) {
    const share = shares[name]!;
    if (!(share >= 0 && share <= 1)) {
      throw outOfRange(kernel, query, name, 'a number in 0..1', share);
    }
  }
}
