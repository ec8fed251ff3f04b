import { Environment, Interpreter } from '@huggingface/jinja';
import {
  characterAt,
  equals,
  type JsonOptions,
  length,
  nameOf,
  type Printer,
  printer,
  strip,
  type TemplateValue,
} from './python-values.js';
import type { TemplateProgram } from './template-source.js';

/** Longest text, in characters, and longest list that a template may hold: the largest prompts are a tenth of it. */
export const MAX_TEXT = 16 * 2 ** 20;
export const MAX_LIST = 20_000;

/** A part of a template's tree, as far as it is looked into. */
interface Node {
  readonly type: string;
  readonly [field: string]: unknown;
}

/** The part of the interpreter that is used; its own types do not resolve under NodeNext. */
interface Evaluator {
  evaluate(node: Node | undefined, scope: unknown): TemplateValue;
  evaluateBlock(nodes: readonly Node[], scope: unknown): TemplateValue;
  evaluateArguments(args: unknown, scope: unknown): [TemplateValue[], Map<string, TemplateValue>];
  run(program: TemplateProgram): TemplateValue;
}

const Base = Interpreter as unknown as new (environment: Environment) => Evaluator;

/** Arguments of a call: those by place, and those by name. */
interface Arguments {
  readonly listed: readonly TemplateValue[];
  readonly named: ReadonlyMap<string, TemplateValue>;
}

/**
 * Runs a parsed template. Stops where a value gets too large, before doubling it a few times more exhausts the
 * heap, which no process survives.
 * @throws Error that says which bound was met; what the template raises
 */
export function runTemplate(program: TemplateProgram, environment: Environment): string {
  return String(bounded(new PythonInterpreter(environment).run(program)).value);
}

/** Nodes that write nothing; any other that gives None writes it. */
const SILENT: ReadonlySet<unknown> = new Set(['Set', 'Macro', 'Comment']);

const STRIPS: ReadonlyMap<unknown, 'both' | 'left' | 'right'> = new Map([
  ['strip', 'both'],
  ['lstrip', 'left'],
  ['rstrip', 'right'],
]);

/** Texts with other capitals, by method and, after a bar, by filter: the filter `title` counts words in its own way. */
const CASES: ReadonlyMap<unknown, (text: string) => string> = new Map([
  ['capitalize', capitalized],
  ['|capitalize', capitalized],
  ['title', (text: string) => text.replaceAll(/\p{L}+/gu, capitalized)],
  ['|title', (text: string) => text.replaceAll(/[^-\s({[<]+/gu, capitalized)],
]);

function capitalized(text: string): string {
  const [first = '', ...rest] = text;
  return first.toUpperCase() + rest.join('').toLowerCase();
}

/** The interpreter with what templates rely on of Python: how values are written, compared and stripped. */
class PythonInterpreter extends Base {
  private readonly tuples = new WeakSet<TemplateValue>();
  private readonly print: Printer = printer(MAX_TEXT, (value) => this.tuples.has(value));

  override evaluate(node: Node | undefined, scope: unknown): TemplateValue {
    return bounded((node && this.own(node, scope)) ?? super.evaluate(node, scope));
  }

  override evaluateBlock(nodes: readonly Node[], scope: unknown): TemplateValue {
    let written = '';
    for (const node of nodes) {
      const value = this.evaluate(node, scope);
      if (SILENT.has(node.type)) continue;
      written += this.print.text(value);
      if (written.length > MAX_TEXT) throw tooLong();
    }
    return this.text(written);
  }

  /** The value of a node that `@huggingface/jinja` gives another one; undefined for the rest. */
  private own(node: Node, scope: unknown): TemplateValue | undefined {
    switch (node.type) {
      case 'Evaluated':
        return node.value as TemplateValue;
      case 'TupleLiteral':
        return this.tuple(super.evaluate({ ...node, type: 'ArrayLiteral' }, scope));
      case 'BinaryExpression':
        return this.binary(node, scope);
      case 'FilterExpression':
        return this.filter(node, scope);
      case 'FilterStatement': {
        const operand = evaluated(this.evaluateBlock(node.body as Node[], scope));
        return this.filter({ ...node, operand }, scope);
      }
      case 'CallExpression':
        return this.method(node, scope);
      case 'MemberExpression':
        return this.member(node, scope);
      default:
        return undefined;
    }
  }

  private binary(node: Node, scope: unknown): TemplateValue | undefined {
    const operator = (node.operator as { readonly value: string }).value;
    if (operator === 'and' || operator === 'or') return undefined;
    const [left, right] = [
      this.evaluate(node.left as Node, scope),
      this.evaluate(node.right as Node, scope),
    ];
    switch (operator) {
      case '==':
        return native(this.equal(left, right));
      case '!=':
        return native(!this.equal(left, right));
      case '~':
        return this.text(this.print.text(left) + this.print.text(right));
      case 'in':
      case 'not in':
        if (right.type !== 'ArrayValue') break;
        return native(
          (right.value as TemplateValue[]).some((item) => this.equal(item, left)) ===
            (operator === 'in'),
        );
      case '+':
        if ((left.type === 'StringValue') === (right.type === 'StringValue')) break;
        throw new Error(`it adds ${nameOf(right)} to ${nameOf(left)}`);
      case '%':
      case '/':
      case '//': {
        if (![left, right].every(({ type }) => type === 'IntegerValue' || type === 'FloatValue')) {
          break;
        }
        const [a, b] = [left.value as number, right.value as number];
        if (b === 0) throw new Error('division by zero');
        if (operator !== '%') break;
        const float = left.type === 'FloatValue' || right.type === 'FloatValue';
        // Python's remainder has the sign of the divisor.
        const remainder = a % b;
        const value = remainder !== 0 && remainder < 0 !== b < 0 ? remainder + b : remainder;
        return super.evaluate({ type: float ? 'FloatLiteral' : 'IntegerLiteral', value }, scope);
      }
    }
    return super.evaluate({ ...node, left: evaluated(left), right: evaluated(right) }, scope);
  }

  private filter(node: Node, scope: unknown): TemplateValue {
    const operand = this.evaluate(node.operand as Node, scope);
    const filter = node.filter as Node;
    const name = String(
      filter.type === 'CallExpression' ? fieldValue(filter.callee) : filter.value,
    );
    const call = () => this.arguments(filter.args ?? [], scope);
    switch (name) {
      case 'tojson':
        return this.text(this.print.json(operand, jsonOptions(call())));
      case 'string':
        return this.text(this.print.text(operand));
      case 'trim':
        return this.text(strip(this.print.text(operand), 'both', characters(call(), 'chars')));
      case 'join':
        return this.join(operand, call());
      case 'length':
      case 'count':
        if (operand.type !== 'StringValue') break;
        return native(length(operand.value as string));
      case 'capitalize':
      case 'title':
        if (operand.type !== 'StringValue' || call().listed.length > 0) break;
        return this.text(CASES.get(`|${name}`)!(operand.value as string));
    }
    const filtered = { type: 'FilterExpression', operand: evaluated(operand), filter };
    const result = super.evaluate(filtered, scope);
    return name === 'items' || name === 'dictsort' ? this.pairs(result) : result;
  }

  private method(node: Node, scope: unknown): TemplateValue | undefined {
    const callee = node.callee as Node;
    const by = callee.property as Node;
    if (callee.type !== 'MemberExpression' || by.type === 'SliceExpression') return undefined;
    const object = this.evaluate(callee.object as Node, scope);
    const property = callee.computed === true ? evaluated(this.evaluate(by, scope)) : by;
    const name = property === by ? fieldValue(by) : fieldValue(property.value as TemplateValue);
    if (object.type === 'StringValue') {
      const sides = STRIPS.get(name);
      if (sides !== undefined) {
        const chars = characters(this.arguments(node.args, scope));
        return this.text(strip(object.value as string, sides, chars));
      }
      if (name === 'join') {
        const { listed } = this.arguments(node.args, scope);
        return this.join(listed[0] ?? object, { listed: [object], named: new Map() });
      }
      const change = CASES.get(name);
      if (change && (node.args as Node[]).length === 0) {
        return this.text(change(object.value as string));
      }
    }
    const result = super.evaluate(
      { ...node, callee: { ...callee, object: evaluated(object), property } },
      scope,
    );
    return object.type === 'ObjectValue' && name === 'items' ? this.pairs(result) : result;
  }

  /** A character of a text by its number: to Python a whole one, never half of a surrogate pair. */
  private member(node: Node, scope: unknown): TemplateValue | undefined {
    const property = node.property as Node;
    if (node.computed !== true || property.type === 'SliceExpression') return undefined;
    const object = this.evaluate(node.object as Node, scope);
    const index = this.evaluate(property, scope);
    if (object.type === 'StringValue' && index.type === 'IntegerValue') {
      const character = characterAt(object.value as string, index.value as number);
      return character === undefined ? super.evaluate(undefined, scope) : this.text(character);
    }
    const known = { object: evaluated(object), property: evaluated(index) };
    return super.evaluate({ ...node, ...known }, scope);
  }

  private equal(a: TemplateValue, b: TemplateValue): boolean {
    return equals(a, b, (value) => this.tuples.has(value));
  }

  private join(operand: TemplateValue, { listed, named }: Arguments): TemplateValue {
    const separator = listed[0] ?? named.get('d');
    const attribute = listed[1] ?? named.get('attribute');
    const items =
      operand.type === 'StringValue'
        ? [...(operand.value as string)].map((character) => this.text(character))
        : operand.type === 'ArrayValue'
          ? (operand.value as TemplateValue[])
          : operand.type === 'UndefinedValue'
            ? []
            : null;
    if (items === null) throw new Error(`${nameOf(operand)} is no list to join`);
    const part = (item: TemplateValue): string => {
      if (attribute === undefined || attribute.type === 'NullValue') return this.print.text(item);
      let value = item;
      for (const name of String(attribute.value).split('.')) {
        const property = evaluated(/^\d+$/.test(name) ? native(Number(name)) : this.text(name));
        const object = evaluated(value);
        value = this.evaluate({ type: 'MemberExpression', computed: true, object, property }, null);
      }
      return this.print.text(value);
    };
    const between = separator === undefined ? '' : this.print.text(separator);
    let joined = '';
    for (const [i, item] of items.entries()) {
      joined += (i === 0 ? '' : between) + part(item);
      if (joined.length > MAX_TEXT) throw tooLong();
    }
    return this.text(joined);
  }

  private arguments(args: unknown, scope: unknown): Arguments {
    const [listed, named] = this.evaluateArguments(args, scope);
    return { listed, named };
  }

  private text(value: string): TemplateValue {
    return super.evaluate({ type: 'StringLiteral', value }, null);
  }

  private tuple(list: TemplateValue): TemplateValue {
    this.tuples.add(list);
    return list;
  }

  private pairs(list: TemplateValue): TemplateValue {
    if (list.type === 'ArrayValue') {
      for (const pair of list.value as TemplateValue[]) this.tuples.add(pair);
    }
    return list;
  }
}

/** A node that is its value already: what has been evaluated is not evaluated again. */
function evaluated(value: TemplateValue): Node {
  return { type: 'Evaluated', value };
}

function native(value: boolean | number): TemplateValue {
  return new Environment().set('value', value) as TemplateValue;
}

function fieldValue(node: unknown): unknown {
  return (node as { readonly value?: unknown }).value;
}

/** The characters to strip, where they are given. */
function characters({ listed, named }: Arguments, name?: string): string | undefined {
  const value = listed[0] ?? (name === undefined ? undefined : named.get(name));
  const names = [...named.keys()].filter((key) => key !== name);
  if (listed.length > 1 || names.length > 0) throw new Error('strip takes one argument');
  if (value === undefined || value.type === 'NullValue') return undefined;
  if (value.type !== 'StringValue') {
    throw new Error(`strip takes characters or None, not ${nameOf(value)}`);
  }
  return value.value as string;
}

function jsonOptions({ listed, named }: Arguments): JsonOptions {
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

function bounded(result: TemplateValue): TemplateValue {
  const { value } = result;
  if (typeof value === 'string' && value.length > MAX_TEXT) throw tooLong();
  if (Array.isArray(value) && value.length > MAX_LIST) {
    throw new Error(`it makes a list of more than ${MAX_LIST} entries`);
  }
  return result;
}

function tooLong(): Error {
  return new Error(`it makes a text of more than ${MAX_TEXT} characters`);
}
