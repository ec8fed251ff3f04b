import { Environment, Interpreter } from '@huggingface/jinja';
import { operate } from './python-operators.js';
import { CASES, STRIPS } from './python-strings.js';
import {
  characterAt,
  equals,
  isNumeric,
  length,
  nameOf,
  type Printer,
  printer,
  strip,
  type TemplateValue,
} from './python-values.js';
import { type Arguments, characters, jsonOptions } from './template-arguments.js';
import { MAX_LIST, MAX_TEXT, tooLong } from './template-bounds.js';
import { FILTERS, type FilterHost } from './template-filters.js';
import type { TemplateProgram } from './template-source.js';

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

/** Methods of an object that Python answers with a view. */
const VIEWS: ReadonlySet<unknown> = new Set(['items', 'keys', 'values']);

/** Tests that `@huggingface/jinja` has not, or has otherwise: to Python a boolean is a number. */
const TESTS: ReadonlyMap<unknown, (value: TemplateValue) => boolean> = new Map([
  ['float', ({ type }: TemplateValue) => type === 'FloatValue'],
  ['number', isNumeric],
]);

/** The interpreter with what templates rely on of Python: how values are written, compared and stripped. */
class PythonInterpreter extends Base {
  /** See `FormOf` */
  private readonly forms = new WeakMap<TemplateValue, string>();
  private readonly print: Printer = printer(MAX_TEXT, (value) => this.forms.get(value));
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
        return this.formed(super.evaluate({ ...node, type: 'ArrayLiteral' }, scope), 'tuple');
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
      case 'TestExpression':
        return this.test(node, scope);
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
    }
    const own = operate(operator, left, right, this.host(scope));
    if (own) return own;
    return super.evaluate({ ...node, left: evaluated(left), right: evaluated(right) }, scope);
  }

  private test(node: Node, scope: unknown): TemplateValue | undefined {
    const test = TESTS.get(fieldValue(node.test));
    if (!test) return undefined;
    return native(test(this.evaluate(node.operand as Node, scope)) !== node.negate);
  }

  private filter(node: Node, scope: unknown): TemplateValue {
    const operand = this.evaluate(node.operand as Node, scope);
    const filter = node.filter as Node;
    const name = String(
      filter.type === 'CallExpression' ? fieldValue(filter.callee) : filter.value,
    );
    const call = () => this.arguments(filter.args ?? [], scope);
    const own = FILTERS.get(name)?.(operand, call(), this.host(scope));
    if (own) return own;
    switch (name) {
      case 'tojson':
        return this.text(this.print.json(operand, jsonOptions(call())));
      case 'string':
        return this.text(this.print.text(operand));
      case 'trim':
        return this.text(strip(this.print.text(operand), 'both', characters(call(), 'chars')));
      case 'join':
        return this.join(operand, call(), scope);
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
    if (callee.type === 'Identifier' && callee.value === 'range') return this.range(node, scope);
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
        return this.join(listed[0] ?? object, { listed: [object], named: new Map() }, scope);
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
    if (object.type !== 'ObjectValue') return result;
    if (name === 'items') this.pairs(result);
    return VIEWS.has(name) ? this.formed(result, `dict_${name}`) : result;
  }

  /** A call of `range`, or of what a template has put in its place. */
  private range(node: Node, scope: unknown): TemplateValue {
    const { listed } = this.arguments(node.args, scope);
    const result = super.evaluate({ ...node, args: listed.map(evaluated) }, scope);
    const numbers = listed.map(({ value }) => Number(value));
    const [start, stop, step] = numbers.length === 1 ? [0, ...numbers] : numbers;
    const written = [start, stop, ...(step === undefined || step === 1 ? [] : [step])];
    return this.formed(result, `range(${written.join(', ')})`);
  }

  /** A character of a text by its number: to Python a whole one, never half of a surrogate pair. */
  private member(node: Node, scope: unknown): TemplateValue | undefined {
    const property = node.property as Node;
    const object = this.evaluate(node.object as Node, scope);
    if (object.type === 'UndefinedValue') throw new Error('it asks a value that is not there');
    if (node.computed !== true || property.type === 'SliceExpression') {
      const result = super.evaluate({ ...node, object: evaluated(object) }, scope);
      const sliced = property.type === 'SliceExpression' && this.forms.get(object) === 'tuple';
      return sliced ? this.formed(result, 'tuple') : result;
    }
    const index = this.evaluate(property, scope);
    if (object.type === 'StringValue' && index.type === 'IntegerValue') {
      const character = characterAt(object.value as string, index.value as number);
      return character === undefined ? super.evaluate(undefined, scope) : this.text(character);
    }
    const known = { object: evaluated(object), property: evaluated(index) };
    return super.evaluate({ ...node, ...known }, scope);
  }

  private equal(a: TemplateValue, b: TemplateValue): boolean {
    return equals(a, b, (value) => this.forms.get(value));
  }

  private join(
    operand: TemplateValue,
    { listed, named }: Arguments,
    scope: unknown,
  ): TemplateValue {
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
      return this.print.text(this.attribute(item, attribute, scope));
    };
    const between = separator === undefined ? '' : this.print.text(separator);
    let joined = '';
    for (const [i, item] of items.entries()) {
      joined += (i === 0 ? '' : between) + part(item);
      if (joined.length > MAX_TEXT) throw tooLong();
    }
    return this.text(joined);
  }

  private attribute(item: TemplateValue, path: TemplateValue, scope: unknown): TemplateValue {
    let value = item;
    for (const name of String(path.value).split('.')) {
      const property = evaluated(/^\d+$/.test(name) ? native(Number(name)) : this.text(name));
      const object = evaluated(value);
      value = this.evaluate({ type: 'MemberExpression', computed: true, object, property }, scope);
    }
    return value;
  }

  /** The filter `name` of a value, with arguments that are values already. */
  private applied(
    name: string,
    operand: TemplateValue,
    args: Arguments,
    scope: unknown,
  ): TemplateValue {
    const own = FILTERS.get(name)?.(operand, args, this.host(scope));
    if (own) return own;
    const identifier = { type: 'Identifier', value: name };
    const listed = [...args.listed.map(evaluated)];
    const filter = { type: 'CallExpression', callee: identifier, args: listed };
    return this.evaluate(
      {
        type: 'FilterExpression',
        operand: evaluated(operand),
        filter: listed.length > 0 ? filter : identifier,
      },
      scope,
    );
  }

  private arguments(args: unknown, scope: unknown): Arguments {
    const [listed, named] = this.evaluateArguments(args, scope);
    return { listed, named };
  }

  private text(value: string): TemplateValue {
    return super.evaluate({ type: 'StringLiteral', value }, null);
  }

  /** This interpreter as filters and operators see it, in a scope of the template. */
  private host(scope: unknown): FilterHost {
    const make = (type: string, value: unknown) => super.evaluate({ type, value }, scope);
    return {
      text: (value) => this.text(value),
      list: (items) => make('ArrayLiteral', items.map(evaluated)),
      integer: (value) => make('IntegerLiteral', value),
      float: (value) => make('FloatLiteral', value),
      boolean: native,
      nothing: () => super.evaluate(undefined, scope),
      attribute: (value, path) => this.attribute(value, path, scope),
      compute: (operator, left, right) => {
        const operands = { left: evaluated(left), right: evaluated(right) };
        const node = { type: 'BinaryExpression', operator: { value: operator }, ...operands };
        return this.evaluate(node, scope);
      },
      test: (name, value) => {
        const test = { type: 'Identifier', value: name };
        const node = { type: 'TestExpression', operand: evaluated(value), negate: false, test };
        return this.evaluate(node, scope).value === true;
      },
      apply: (name, operand, args) => this.applied(name, operand, args, scope),
    };
  }

  private formed(list: TemplateValue, form: string): TemplateValue {
    if (list.type === 'ArrayValue') this.forms.set(list, form);
    return list;
  }

  private pairs(list: TemplateValue): TemplateValue {
    if (list.type === 'ArrayValue') {
      for (const pair of list.value as TemplateValue[]) this.forms.set(pair, 'tuple');
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

function bounded(result: TemplateValue): TemplateValue {
  const { value } = result;
  if (typeof value === 'string' && value.length > MAX_TEXT) throw tooLong();
  if (Array.isArray(value) && value.length > MAX_LIST) {
    throw new Error(`it makes a list of more than ${MAX_LIST} entries`);
  }
  return result;
}
