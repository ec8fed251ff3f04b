/** A value inside a running template: what `@huggingface/jinja` calls it, and what it holds. */
export interface TemplateValue {
  readonly type: string;
  readonly value: unknown;
}

/** Texts that Python makes of values; `limit` is the most characters that one of them may have. */
export interface Printer {
  /** `str(value)`, which is what a template writes. */
  text(value: TemplateValue): string;
  /** `json.dumps(value, ...)`. */
  json(value: TemplateValue, options?: JsonOptions): string;
}

/** Arguments of transformers' filter `tojson`. */
export interface JsonOptions {
  readonly ensureAscii?: boolean;
  readonly indent?: number | string | null;
  readonly separators?: readonly [string, string] | null;
  readonly sortKeys?: boolean;
}

/**
 * How a value is a list to `@huggingface/jinja` and another thing to Python: `tuple`, a view such as `dict_keys`, or a
 * range as Python writes it; undefined for a list.
 */
export type FormOf = (value: TemplateValue) => string | undefined;

export function printer(limit: number, formOf: FormOf): Printer {
  // A few lists inside each other, each twice, are a text that no memory holds.
  let left = limit;
  const spend = (text: string) => {
    left -= text.length;
    if (left < 0) throw new Error(`it makes a text of more than ${limit} characters`);
    return text;
  };

  const repr = (value: TemplateValue): string => {
    switch (value.type) {
      case 'StringValue':
        return spend(pythonString(value.value as string));
      case 'ArrayValue':
      case 'TupleValue': {
        const form = value.type === 'TupleValue' ? 'tuple' : formOf(value);
        if (isRange(form)) return form;
        const items = (value.value as TemplateValue[]).map(repr);
        const list = spend(items.join(', '));
        if (form === undefined) return `[${list}]`;
        if (form !== 'tuple') return `${form}([${list}])`;
        return items.length === 1 ? `(${list},)` : `(${list})`;
      }
      case 'ObjectValue':
      case 'KeywordArgumentsValue':
        return spend(`{${entries(value).map(reprEntry).join(', ')}}`);
      case 'NamespaceValue':
        return spend(`<Namespace {${entries(value).map(reprEntry).join(', ')}}>`);
      case 'UndefinedValue':
        return 'Undefined';
      default:
        return spend(scalar(value));
    }
  };
  const reprEntry = ([key, value]: readonly [string, TemplateValue]) =>
    `${pythonString(key)}: ${repr(value)}`;

  const json = (value: TemplateValue, options: JsonOptions, depth: number): string => {
    const { ensureAscii = false, indent = null, sortKeys = false } = options;
    const [comma, colon] = options.separators ?? [indent === null ? ', ' : ',', ': '];
    const unit = typeof indent === 'number' ? ' '.repeat(Math.max(0, indent)) : indent;
    const quote = (text: string) => {
      const quoted = JSON.stringify(text);
      return ensureAscii ? quoted.replace(/[\x7f-\uffff]/g, escapeUnit) : quoted;
    };
    const wrap = (open: string, items: readonly string[], close: string) => {
      if (items.length === 0) return open + close;
      if (unit === null) return spend(open + items.join(comma) + close);
      const line = `\n${unit.repeat(depth)}`;
      return spend(open + line + unit + items.join(`${comma}${line}${unit}`) + line + close);
    };
    switch (value.type) {
      case 'StringValue':
        return spend(quote(value.value as string));
      case 'ArrayValue':
      case 'TupleValue':
        if ((formOf(value) ?? 'tuple') !== 'tuple') {
          throw new Error(`${formOf(value)!.replace(/\(.*/, '')} is not JSON serializable`);
        }
        return wrap(
          '[',
          (value.value as TemplateValue[]).map((item) => json(item, options, depth + 1)),
          ']',
        );
      case 'ObjectValue':
      case 'KeywordArgumentsValue': {
        const sorted = sortKeys ? entries(value).sort(([a], [b]) => compare(a, b)) : entries(value);
        return wrap(
          '{',
          sorted.map(([key, item]) => quote(key) + colon + json(item, options, depth + 1)),
          '}',
        );
      }
      case 'BooleanValue':
        return value.value === true ? 'true' : 'false';
      case 'NullValue':
        return 'null';
      case 'FloatValue':
        return spend(jsonFloat(value.value as number));
      case 'IntegerValue':
        return spend(scalar(value));
      default:
        throw new Error(`${nameOf(value)} is not JSON serializable`);
    }
  };

  return {
    text: (value) => {
      left = limit;
      if (value.type === 'StringValue') return value.value as string;
      return value.type === 'UndefinedValue' ? '' : repr(value);
    },
    json: (value, options = {}) => {
      left = limit;
      return json(value, options, 0);
    },
  };
}

/** Python's `==`. */
export function equals(a: TemplateValue, b: TemplateValue, formOf: FormOf): boolean {
  const same = (x: TemplateValue, y: TemplateValue) => equals(x, y, formOf);
  const kind = (value: TemplateValue) => formOf(value)?.replace(/\(.*/, '');
  if (isNumeric(a) && isNumeric(b)) return Number(a.value) === Number(b.value);
  if (a.type !== b.type) return false;
  switch (a.type) {
    case 'StringValue':
      return a.value === b.value;
    case 'NullValue':
    case 'UndefinedValue':
      return true;
    case 'ArrayValue': {
      const [left, right] = [a.value as TemplateValue[], b.value as TemplateValue[]];
      return (
        kind(a) === kind(b) &&
        left.length === right.length &&
        left.every((item, i) => same(item, right[i]!))
      );
    }
    case 'ObjectValue': {
      const right = b.value as Map<string, TemplateValue>;
      const left = entries(a);
      return (
        left.length === right.size &&
        left.every(([key, value]) => {
          const other = right.get(key);
          return other !== undefined && same(value, other);
        })
      );
    }
    default:
      return a.value === b.value;
  }
}

function isRange(form: string | undefined): form is string {
  return form?.startsWith('range(') === true;
}

/** Python's `len` of a text. */
export function length(text: string): number {
  let count = 0;
  for (const _ of text) count++;
  return count;
}

/** Python's `text[index]`; undefined beyond its ends. */
export function characterAt(text: string, index: number): string | undefined {
  return /[\ud800-\udfff]/.test(text) ? [...text].at(index) : text.at(index);
}

/** Python's name of a value's type, for messages. */
export function nameOf({ type }: TemplateValue): string {
  const names: Readonly<Record<string, string>> = {
    StringValue: 'str',
    IntegerValue: 'int',
    FloatValue: 'float',
    BooleanValue: 'bool',
    NullValue: 'NoneType',
    ArrayValue: 'list',
    ObjectValue: 'dict',
    UndefinedValue: 'Undefined',
  };
  return names[type] ?? type.replace(/Value$/, '').toLowerCase();
}

/** Python's `str.strip` and its one-sided forms; without `characters`, of what Python calls white space. */
export function strip(text: string, sides: 'both' | 'left' | 'right', characters?: string): string {
  const set = characters === undefined ? null : new Set(characters);
  const goes = (character: string) => (set === null ? isSpace(character) : set.has(character));
  let [from, to] = [0, text.length];
  while (sides !== 'right' && from < to) {
    const character = String.fromCodePoint(text.codePointAt(from)!);
    if (!goes(character)) break;
    from += character.length;
  }
  while (sides !== 'left' && from < to) {
    const character = [...text.slice(Math.max(from, to - 2), to)].at(-1)!;
    if (!goes(character)) break;
    to -= character.length;
  }
  return text.slice(from, to);
}

/** JavaScript's trim takes U+FEFF, which is no white space to Python, and not the separators U+001C to U+001F. */
function isSpace(character: string): boolean {
  return /\p{White_Space}/u.test(character) || (character >= '\x1c' && character <= '\x1f');
}

/** Whether a value is a number to Python, as booleans are. */
export function isNumeric({ type }: TemplateValue): boolean {
  return type === 'IntegerValue' || type === 'FloatValue' || type === 'BooleanValue';
}

function entries(value: TemplateValue): [string, TemplateValue][] {
  return [...(value.value as Map<string, TemplateValue>)];
}

function scalar(value: TemplateValue): string {
  switch (value.type) {
    case 'BooleanValue':
      return value.value === true ? 'True' : 'False';
    case 'NullValue':
      return 'None';
    case 'IntegerValue': {
      const number = value.value as number;
      return Number.isInteger(number) ? BigInt(number).toString() : String(number);
    }
    case 'FloatValue':
      return pythonFloat(value.value as number);
    default:
      return `<${nameOf(value)}>`;
  }
}

/** `repr` of a float: the shortest digits, as in JavaScript, but with an exponent from 1e16 on and below 1e-4. */
function pythonFloat(value: number): string {
  if (Number.isNaN(value)) return 'nan';
  if (!Number.isFinite(value)) return value > 0 ? 'inf' : '-inf';
  if (Object.is(value, -0)) return '-0.0';
  const size = Math.abs(value);
  if (size !== 0 && (size >= 1e16 || size < 1e-4)) {
    return value.toExponential().replace(/e([+-])(\d)$/, 'e$10$2');
  }
  return Number.isInteger(value) ? `${value}.0` : String(value);
}

function jsonFloat(value: number): string {
  const names: Readonly<Record<string, string>> = {
    nan: 'NaN',
    inf: 'Infinity',
    '-inf': '-Infinity',
  };
  const text = pythonFloat(value);
  return names[text] ?? text;
}

const SHORT_ESCAPES: Readonly<Record<string, string>> = {
  '\\': '\\\\',
  '\n': '\\n',
  '\r': '\\r',
  '\t': '\\t',
};

/** `repr` of a str. */
function pythonString(text: string): string {
  const quote = text.includes("'") && !text.includes('"') ? '"' : "'";
  const escaped = text.replace(/[\\\p{C}\p{Z}]/gu, (character) => {
    if (character === ' ') return character;
    return SHORT_ESCAPES[character] ?? pythonEscape(character.codePointAt(0)!);
  });
  return quote + (quote === "'" ? escaped.replaceAll("'", "\\'") : escaped) + quote;
}

function pythonEscape(code: number): string {
  const hex = code.toString(16);
  if (code < 0x100) return `\\x${hex.padStart(2, '0')}`;
  return code < 0x10000 ? `\\u${hex.padStart(4, '0')}` : `\\U${hex.padStart(8, '0')}`;
}

function escapeUnit(unit: string): string {
  return `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`;
}

/** By code points, as Python sorts texts. */
export function compare(a: string, b: string): number {
  const [left, right] = [[...a], [...b]];
  for (let i = 0; i < Math.min(left.length, right.length); i++) {
    const difference = left[i]!.codePointAt(0)! - right[i]!.codePointAt(0)!;
    if (difference !== 0) return difference;
  }
  return left.length - right.length;
}
