import { z } from 'zod';
import { SdaError } from '../errors.js';
import { MOST_STREAMS } from '../method/blend.js';
import type { StreamSource } from './define.js';

/**
 * Streams that a caller names, after those that the rule has anyway.
 *
 * @throws SdaError `bad-input` for no name, an empty one, one that is taken, or more streams than a query can have
 */
export function namedStreams<Own extends string, N extends string>(
  rule: string,
  own: Readonly<Record<Own, StreamSource>>,
  names: readonly N[],
  source: StreamSource,
): Readonly<Record<Own | N, StreamSource>> {
  const most = MOST_STREAMS - Object.keys(own).length;
  if (names.length < 1 || names.length > most) {
    throw new SdaError(
      'bad-input',
      `The rule ${rule} takes 1 to ${most} names of streams, but has ${names.length}.`,
    );
  }
  const wrong = names.find(
    (name, index) =>
      !/^[A-Za-z][\w-]*$/.test(name) || Object.hasOwn(own, name) || names.indexOf(name) !== index,
  );
  if (wrong !== undefined) {
    throw new SdaError(
      'bad-input',
      `The rule ${rule} cannot name a stream "${wrong}": names begin with a letter, hold letters, digits, - and _, are different, and none is ${Object.keys(own).join(' or ')}.`,
    );
  }
  return { ...own, ...Object.fromEntries(names.map((name) => [name, source])) } as Readonly<
    Record<Own | N, StreamSource>
  >;
}

/** A setting that is a number for each name. */
export function numbersOf<N extends string>(
  names: readonly N[],
  each: z.ZodDefault<z.ZodNumber>,
): z.ZodType<Readonly<Record<N, number>>> {
  const shape = Object.fromEntries(names.map((name) => [name, each]));
  return z.strictObject(shape).prefault({}) as unknown as z.ZodType<Readonly<Record<N, number>>>;
}
