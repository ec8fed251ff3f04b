import { parseFloating, parseInteger, roundHalfEven } from './python-numbers.js';
import type { Maker } from './python-operators.js';
import { isNumeric, nameOf, type TemplateValue } from './python-values.js';
import type { Arguments } from './template-arguments.js';

/** What filters ask of the interpreter that runs them. */
export interface FilterHost extends Maker {
  list(items: readonly TemplateValue[]): TemplateValue;
  nothing(): TemplateValue;
  /** `value.attribute`, also of a dotted path */
  attribute(value: TemplateValue, path: TemplateValue): TemplateValue;
  compute(operator: string, left: TemplateValue, right: TemplateValue): TemplateValue;
  /** `value is name` */
  test(name: string, value: TemplateValue): boolean;
  apply(name: string, operand: TemplateValue, args: Arguments): TemplateValue;
}

type Filter = (
  operand: TemplateValue,
  args: Arguments,
  host: FilterHost,
) => TemplateValue | undefined;

/** Filters as Jinja2 has them, by name; where one gives undefined, `@huggingface/jinja` has it right. */
export const FILTERS: ReadonlyMap<string, Filter> = new Map<string, Filter>([
  ['int', toInteger],
  ['float', toFloat],
  ['round', round],
  ['abs', (operand, _, host) => (isNumeric(operand) ? absolute(operand, host) : undefined)],
  ['default', orDefault],
  ['d', orDefault],
  ['list', (operand, _, host) => host.list(itemsOf(operand, host))],
  ['first', (operand, _, host) => itemsOf(operand, host)[0] ?? host.nothing()],
  ['last', (operand, _, host) => itemsOf(operand, host).at(-1) ?? host.nothing()],
  ['reverse', reversed],
  ['unique', unique],
  ['sum', sum],
  ['min', (operand, args, host) => extreme('<', operand, args, host)],
  ['max', (operand, args, host) => extreme('>', operand, args, host)],
  ['map', map],
  ['select', (operand, args, host) => selected(operand, args, host, true)],
  ['reject', (operand, args, host) => selected(operand, args, host, false)],
  [
    'wordcount',
    (operand, _, host) => host.integer(textOf(operand).match(/[\p{L}\p{N}_]+/gu)?.length ?? 0),
  ],
]);

/** Tests of two values, by their names and the operators that they stand for. */
const COMPARISONS: ReadonlyMap<string, string> = new Map([
  ...['==', 'eq', 'equalto'].map((name) => [name, '=='] as const),
  ...['!=', 'ne'].map((name) => [name, '!='] as const),
  ...['<', 'lt', 'lessthan'].map((name) => [name, '<'] as const),
  ...['<=', 'le'].map((name) => [name, '<='] as const),
  ...['>', 'gt', 'greaterthan'].map((name) => [name, '>'] as const),
  ...['>=', 'ge'].map((name) => [name, '>='] as const),
  ['in', 'in'],
]);

/** What a loop over a value gives. */
function itemsOf(value: TemplateValue, host: FilterHost): readonly TemplateValue[] {
  if (value.type === 'UndefinedValue') return [];
  if (value.type === 'ArrayValue') return value.value as TemplateValue[];
  if (value.type === 'StringValue') return [...(value.value as string)].map(host.text);
  if (value.type === 'ObjectValue') {
    return [...(value.value as Map<string, TemplateValue>).keys()].map(host.text);
  }
  throw new Error(`'${nameOf(value)}' object is not iterable`);
}

function argument({ listed, named }: Arguments, place: number, name: string) {
  return listed[place] ?? named.get(name);
}

function textOf(value: TemplateValue): string {
  if (value.type !== 'StringValue') throw new Error(`expected a text, not ${nameOf(value)}`);
  return value.value as string;
}

/** Whether Python takes a value for true. */
function isTrue(value: TemplateValue): boolean {
  const truth = value as TemplateValue & { __bool__(): { readonly value: boolean } };
  return truth.__bool__().value;
}

function toInteger(operand: TemplateValue, args: Arguments, host: FilterHost) {
  if (operand.type === 'UndefinedValue') return undefined;
  const base = Number(argument(args, 1, 'base')?.value ?? 10);
  const value =
    operand.type === 'StringValue'
      ? (parseInteger(operand.value as string, base) ?? parseFloating(operand.value as string))
      : isNumeric(operand)
        ? Number(operand.value)
        : null;
  if (value !== null && Number.isFinite(value)) return host.integer(Math.trunc(value));
  return argument(args, 0, 'default') ?? host.integer(0);
}

function toFloat(operand: TemplateValue, args: Arguments, host: FilterHost) {
  if (operand.type === 'UndefinedValue') return undefined;
  const value =
    operand.type === 'StringValue'
      ? parseFloating(operand.value as string)
      : isNumeric(operand)
        ? Number(operand.value)
        : null;
  return value === null ? (argument(args, 0, 'default') ?? host.float(0)) : host.float(value);
}

function round(operand: TemplateValue, args: Arguments, host: FilterHost): TemplateValue {
  if (!isNumeric(operand)) throw new Error(`${nameOf(operand)} cannot be rounded`);
  const places = Number(argument(args, 0, 'precision')?.value ?? 0);
  const method = argument(args, 1, 'method')?.value ?? 'common';
  const value = Number(operand.value);
  switch (method) {
    case 'common': {
      const rounded = roundHalfEven(value, places);
      return operand.type === 'FloatValue' ? host.float(rounded) : host.integer(rounded);
    }
    case 'ceil':
      return host.float(Math.ceil(value * 10 ** places) / 10 ** places);
    case 'floor':
      return host.float(Math.floor(value * 10 ** places) / 10 ** places);
    default:
      throw new Error('method must be common, ceil or floor');
  }
}

function absolute(operand: TemplateValue, host: FilterHost): TemplateValue {
  const value = Math.abs(Number(operand.value));
  return operand.type === 'FloatValue' ? host.float(value) : host.integer(value);
}

function orDefault(operand: TemplateValue, args: Arguments, host: FilterHost): TemplateValue {
  const boolean = argument(args, 1, 'boolean');
  const replaced =
    operand.type === 'UndefinedValue' ||
    (boolean !== undefined && isTrue(boolean) && !isTrue(operand));
  return replaced ? (argument(args, 0, 'default_value') ?? host.text('')) : operand;
}

function reversed(operand: TemplateValue, _: Arguments, host: FilterHost): TemplateValue {
  const items = [...itemsOf(operand, host)].reverse();
  return operand.type === 'StringValue'
    ? host.text(items.map(({ value }) => value).join(''))
    : host.list(items);
}

/** Texts without regard to capitals, as Jinja2 compares them where it is not told otherwise. */
function folded(value: TemplateValue, args: Arguments, place: number, host: FilterHost) {
  const sensitive = argument(args, place, 'case_sensitive');
  if (value.type !== 'StringValue' || (sensitive && isTrue(sensitive))) return value;
  return host.text((value.value as string).toLowerCase());
}

function unique(operand: TemplateValue, args: Arguments, host: FilterHost) {
  if (args.named.has('attribute') || args.listed.length > 1) return undefined;
  const kept: TemplateValue[] = [];
  const seen: TemplateValue[] = [];
  for (const item of itemsOf(operand, host)) {
    const key = folded(item, args, 0, host);
    if (seen.some((other) => isTrue(host.compute('==', other, key)))) continue;
    seen.push(key);
    kept.push(item);
  }
  return host.list(kept);
}

function sum(operand: TemplateValue, args: Arguments, host: FilterHost): TemplateValue {
  const path = argument(args, 0, 'attribute');
  const by = path !== undefined && path.type !== 'NullValue';
  return itemsOf(operand, host)
    .map((item) => (by ? host.attribute(item, path) : item))
    .reduce(
      (total, item) => host.compute('+', total, item),
      argument(args, 1, 'start') ?? host.integer(0),
    );
}

function extreme(operator: '<' | '>', operand: TemplateValue, args: Arguments, host: FilterHost) {
  const path = argument(args, 1, 'attribute');
  const keyOf = (item: TemplateValue) =>
    folded(path ? host.attribute(item, path) : item, args, 0, host);
  const [first, ...others] = itemsOf(operand, host);
  if (!first) return host.nothing();
  return others.reduce(
    (best, item) => (isTrue(host.compute(operator, keyOf(item), keyOf(best))) ? item : best),
    first,
  );
}

/** A filter for each item; `map(attribute=...)` is right as it is. */
function map(operand: TemplateValue, args: Arguments, host: FilterHost) {
  const [name, ...listed] = args.listed;
  if (name === undefined) return undefined;
  const each = { listed, named: args.named };
  return host.list(itemsOf(operand, host).map((item) => host.apply(textOf(name), item, each)));
}

function selected(
  operand: TemplateValue,
  { listed }: Arguments,
  host: FilterHost,
  wanted: boolean,
) {
  const [name, other] = listed;
  const operator = name && COMPARISONS.get(textOf(name));
  const holds = (item: TemplateValue): boolean => {
    if (name === undefined) return isTrue(item);
    if (operator === undefined) return host.test(textOf(name), item);
    return isTrue(host.compute(operator, item, other ?? host.nothing()));
  };
  return host.list(itemsOf(operand, host).filter((item) => holds(item) === wanted));
}
