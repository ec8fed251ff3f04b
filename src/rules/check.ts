import type { z } from 'zod';
import { SdaError } from '../errors.js';
import type { GivenStreams } from '../method/rule.js';
import type { Rule } from './define.js';
import { expectationOf } from './ranges.js';

/** Settings that have been through their schema, which may turn them into something else: once is enough. */
const RESOLVED = new WeakMap<object, z.ZodType>();

/**
 * A rule's settings with its defaults.
 *
 * @param of whose settings they are, such as " of request 3", for errors
 * @throws SdaError `bad-input` naming the setting, what is expected and what was found
 */
export function resolveSettingsOf<S extends object>(
  rule: Pick<Rule<string, S>, 'name' | 'settings' | 'resolve'>,
  partial?: Readonly<Partial<S>>,
  of = '',
): S {
  const given = Object.fromEntries(
    Object.entries(partial ?? {}).filter(([, value]) => value !== undefined),
  );
  const known = Object.keys((rule.settings as unknown as z.ZodObject).shape);
  const unknown = Object.keys(given).find((name) => !known.includes(name));
  if (unknown !== undefined) {
    throw new SdaError(
      'bad-input',
      `The rule ${rule.name} has no setting "${unknown}"${of}: its settings are ${known.join(', ')}.`,
    );
  }
  if (rule.resolve) return rule.resolve(partial, of);
  const { data, error } = rule.settings.safeParse(given);
  if (error) throw refusal(rule, given, error.issues[0]!, of);
  RESOLVED.set(data, rule.settings);
  return data;
}

function refusal(
  { name, settings }: Pick<Rule, 'name' | 'settings'>,
  given: object,
  { code, path, message }: z.core.$ZodIssue,
  of: string,
): SdaError {
  const value = path.reduce<unknown>(
    (at, part) => (at as Record<PropertyKey, unknown> | undefined)?.[part],
    given,
  );
  const found = typeof value === 'object' ? JSON.stringify(value) : String(value);
  const itself = code === 'custom' || code === 'unrecognized_keys'; // says more than a range
  const expected = itself ? null : expectationOf(settings, path);
  return new SdaError(
    'bad-input',
    `The setting ${path.join('.')}${of} of the rule ${name} is ${found}: ${expected === null ? message : `it must be ${expected}`}.`,
  );
}

/**
 * Refuses queries of a step that are not for its rule: settings that are out of range, unknown or left out, and other
 * streams than its own, or in another order.
 */
export function checkOf<S extends object>(
  rule: Pick<Rule<string, S>, 'name' | 'settings' | 'resolve' | 'streams'>,
): (query: number, settings: S, streams: GivenStreams) => void {
  return (query, settings, streams) => {
    checkStreamsOf(rule, query, streams);
    if (RESOLVED.get(settings) === rule.settings) return;
    const of = ` of query ${query}`;
    const whole = resolveSettingsOf(rule, settings, of);
    const missing = Object.entries(whole).find(
      ([name, value]) => value !== undefined && settings[name as keyof S] === undefined,
    );
    if (missing === undefined) return;
    throw new SdaError(
      'bad-input',
      `The setting ${missing[0]}${of} of the rule ${rule.name} is not there: give it, or fill in defaults with resolveSettingsOf.`,
    );
  };
}

/**
 * That queries come with the streams of a rule.
 *
 * @param least how many of them will do, from the first on; default: all
 * @throws SdaError `bad-input`
 */
export function checkStreamsOf(
  { name, streams }: Pick<Rule, 'name' | 'streams'>,
  query: number,
  { count, names }: GivenStreams,
  least = Object.keys(streams).length,
): void {
  const own = Object.keys(streams);
  const same = names?.every((each, index) => each === own[index]) ?? true;
  if (same && count >= least && count <= own.length) return;
  throw new SdaError(
    'bad-input',
    `The rule ${name} has the ${own.length > 1 ? 'streams' : 'stream'} ${own.join(', ')}${own.length > 1 ? ', in this order' : ''}, but query ${query} comes with ${names ? names.join(', ') : `${count} prompts`}: give a prompt for each of them, and their names.`,
  );
}
