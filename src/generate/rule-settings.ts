import { z } from 'zod';
import type { Rule } from '../rules/define.js';
import { SAMPLING_NAMES } from './shown-settings.js';

/** A setting of a rule, as its schema says it. */
export interface RuleSetting {
  readonly name: string;
  /** Of `sda generate`, such as "--base-top-p" */
  readonly flag: string;
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
  readonly minimum?: number;
  readonly maximum?: number;
  readonly exclusiveMinimum?: number;
  readonly exclusiveMaximum?: number;
}

/** The settings of a rule, its own before those that every rule has. */
export function settingsOf(rule: Rule): RuleSetting[] {
  const { properties = {} } = z.toJSONSchema(rule.settings, {
    io: 'input',
    unrepresentable: 'any',
  });
  const all = Object.entries(properties as Record<string, Schema>).map(
    ([name, schema]): RuleSetting => ({
      name,
      flag: flagOf(name),
      type: typeOf(schema),
      range: rangeOf(schema),
      default: schema.default,
      meaning: schema.description ?? '',
    }),
  );
  const shared = ({ name }: RuleSetting) => SAMPLING_NAMES.includes(name);
  return [...all.filter((each) => !shared(each)), ...all.filter(shared)];
}

/** "baseTopP" as "--base-top-p". */
export function flagOf(name: string): string {
  return `--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
}

function typeOf({ type, enum: choices }: Schema): RuleSetting['type'] {
  if (choices) return 'string';
  const known = ['number', 'integer', 'boolean', 'string'] as const;
  return known.find((each) => each === type) ?? 'object';
}

function rangeOf(schema: Schema): string {
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
