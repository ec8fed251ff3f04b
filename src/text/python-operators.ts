import { compare, nameOf, type TemplateValue } from './python-values.js';
import { MAX_TEXT, tooLong } from './template-bounds.js';

/** Makes values of a template. */
export interface Maker {
  text(value: string): TemplateValue;
  integer(value: number): TemplateValue;
  float(value: number): TemplateValue;
  boolean(value: boolean): TemplateValue;
}

/**
 * Python's operators on texts and numbers, where `@huggingface/jinja` has them otherwise or not at all; undefined for
 * the rest.
 * @throws Error where Python refuses them
 */
export function operate(
  operator: string,
  left: TemplateValue,
  right: TemplateValue,
  make: Maker,
): TemplateValue | undefined {
  const texts = [left, right].filter(({ type }) => type === 'StringValue').length;
  switch (operator) {
    case '<':
    case '<=':
    case '>':
    case '>=': {
      if (texts < 2) return undefined;
      const order = compare(left.value as string, right.value as string);
      const holds = { '<': order < 0, '<=': order <= 0, '>': order > 0, '>=': order >= 0 };
      return make.boolean(holds[operator]);
    }
    case '*':
      return texts === 1 ? repeated(left, right, make) : undefined;
    case '+':
      if (texts !== 1) return undefined;
      throw new Error(`it adds ${nameOf(right)} to ${nameOf(left)}`);
    case '%':
    case '/':
    case '//':
      return divided(operator, left, right, make);
    default:
      return undefined;
  }
}

function repeated(
  left: TemplateValue,
  right: TemplateValue,
  make: Maker,
): TemplateValue | undefined {
  const [text, count] = left.type === 'StringValue' ? [left, right] : [right, left];
  if (count.type !== 'IntegerValue') return undefined;
  const times = Math.max(0, count.value as number);
  if ((text.value as string).length * times > MAX_TEXT) throw tooLong();
  return make.text((text.value as string).repeat(times));
}

function divided(
  operator: '%' | '/' | '//',
  left: TemplateValue,
  right: TemplateValue,
  make: Maker,
): TemplateValue | undefined {
  const types = [left.type, right.type];
  if (!types.every((type) => type === 'IntegerValue' || type === 'FloatValue')) return undefined;
  const [a, b] = [left.value as number, right.value as number];
  if (b === 0) throw new Error('division by zero');
  if (operator !== '%') return undefined;
  // Python's remainder has the sign of the divisor.
  const remainder = a % b;
  const value = remainder !== 0 && remainder < 0 !== b < 0 ? remainder + b : remainder;
  return types.includes('FloatValue') ? make.float(value) : make.integer(value);
}
