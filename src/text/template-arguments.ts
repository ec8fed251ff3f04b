import { type JsonOptions, nameOf, type TemplateValue } from './python-values.js';

/** Arguments of a call: those by place, and those by name. */
export interface Arguments {
  readonly listed: readonly TemplateValue[];
  readonly named: ReadonlyMap<string, TemplateValue>;
}

/** The characters to strip, where they are given. */
export function characters({ listed, named }: Arguments, name?: string): string | undefined {
  const value = listed[0] ?? (name === undefined ? undefined : named.get(name));
  const names = [...named.keys()].filter((key) => key !== name);
  if (listed.length > 1 || names.length > 0) throw new Error('strip takes one argument');
  if (value === undefined || value.type === 'NullValue') return undefined;
  if (value.type !== 'StringValue') {
    throw new Error(`strip takes characters or None, not ${nameOf(value)}`);
  }
  return value.value as string;
}

/** What transformers' filter `tojson` is told. */
export function jsonOptions({ listed, named }: Arguments): JsonOptions {
  const [ensureAscii, indent, separators, sortKeys] = (
    ['ensure_ascii', 'indent', 'separators', 'sort_keys'] as const
  ).map((name, i) => (listed[i] ?? named.get(name))?.value ?? undefined);
  const pair = separators as readonly TemplateValue[] | undefined;
  if (
    pair !== undefined &&
    (pair.length !== 2 || pair.some(({ type }) => type !== 'StringValue'))
  ) {
    throw new Error('separators are two texts');
  }
  if (indent !== undefined && typeof indent !== 'string' && !(Number(indent) <= 100)) {
    throw new Error('indent is a number of at most 100, or a text');
  }
  return {
    ensureAscii: ensureAscii === true,
    sortKeys: sortKeys === true,
    indent: (indent as number | string | undefined) ?? null,
    separators: pair ? [pair[0]!.value as string, pair[1]!.value as string] : null,
  };
}
