import { z } from 'zod';

/** What a setting may be, as its schema says it. */
export interface SettingKind {
  readonly type: 'number' | 'integer' | 'boolean' | 'string' | 'object';
  /** Such as "0..1", "above 0" or "sda, base"; '' where every value of the type will do */
  readonly range: string;
  /** undefined: it has to be given */
  readonly default: unknown;
  readonly meaning: string;
}

interface Schema {
  readonly type?: string;
  readonly default?: unknown;
  readonly description?: string;
  readonly enum?: readonly unknown[];
  readonly anyOf?: readonly Schema[];
  readonly items?: Schema;
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly exclusiveMinimum?: number;
  readonly exclusiveMaximum?: number;
}

const asJson = (settings: z.ZodType): Schema =>
  z.toJSONSchema(settings, { io: 'input', unrepresentable: 'any' }) as Schema;

/** The settings of a rule by name. */
export function settingKinds(settings: z.ZodType): Record<string, SettingKind> {
  const { properties = {} } = asJson(settings);
  return Object.fromEntries(
    Object.entries(properties).map(([name, schema]) => [
      name,
      {
        type: typeOf(schema),
        range: rangeOf(schema),
        default: schema.default,
        meaning: schema.description ?? '',
      },
    ]),
  );
}

/**
 * What is expected of a setting, such as "a number in 0..1".
 *
 * @param path of names, where settings hold others
 * @returns null where its schema cannot tell
 */
export function expectationOf(settings: z.ZodType, path: readonly PropertyKey[]): string | null {
  const schema = path.reduce<Schema | undefined>(
    (at, name) => (typeof name === 'number' ? itemsOf(at) : at?.properties?.[String(name)]),
    asJson(settings),
  );
  return schema ? told(schema) : null;
}

const itemsOf = (schema: Schema | undefined): Schema | undefined =>
  schema?.items ?? schema?.anyOf?.find(({ items }) => items)?.items;

function told(schema: Schema): string | null {
  const range = rangeOf(schema);
  if (schema.anyOf) return range;
  if (schema.type === 'array') return range;
  if (schema.enum) return `one of ${range}`;
  switch (typeOf(schema)) {
    case 'boolean':
      return 'true or false';
    case 'string':
      return 'a text';
    case 'integer':
      return range.startsWith('a whole') ? range : `a whole number in ${range}`;
    case 'number':
      if (range === '') return 'a finite number';
      return `a number ${range.includes('..') ? 'in ' : range.startsWith('at') ? 'of ' : ''}${range}`;
    default:
      return schema.properties ? `an object of ${Object.keys(schema.properties).join(', ')}` : null;
  }
}

function typeOf({ type, enum: choices }: Schema): SettingKind['type'] {
  if (choices) return 'string';
  const known = ['number', 'integer', 'boolean', 'string'] as const;
  return known.find((each) => each === type) ?? 'object';
}

function rangeOf(schema: Schema): string {
  if (schema.anyOf) return schema.anyOf.map((each) => told(each) ?? 'another value').join(', or ');
  if (schema.type === 'array') return `a list, each ${told(schema.items ?? {}) ?? 'a value'}`;
  if (schema.enum) return schema.enum.join(', ');
  const { exclusiveMinimum: above, exclusiveMaximum: below } = schema;
  const [least, most] = [bound(schema.minimum), bound(schema.maximum)];
  if (least !== undefined && most !== undefined) return `${least}..${most}`;
  return [
    ...(schema.type === 'integer' ? ['a whole number'] : []),
    ...(above === undefined ? [] : [`above ${above}`]),
    ...(least === undefined ? [] : [`at least ${least}`]),
    ...(below === undefined ? [] : [`below ${below}`]),
    ...(most === undefined ? [] : [`at most ${most}`]),
  ].join(', ');
}

/** No bound where it is only that of whole numbers. */
function bound(value: number | undefined): number | undefined {
  return value === undefined || Math.abs(value) === Number.MAX_SAFE_INTEGER ? undefined : value;
}
