import { type Environment, Interpreter, type parse } from '@huggingface/jinja';

/** Longest text, in characters, and longest list that a template may hold: the largest prompts are a tenth of it. */
export const MAX_TEXT = 16 * 2 ** 20;
export const MAX_LIST = 20_000;

/** The part of the interpreter that is used; its own types do not resolve under NodeNext. */
interface Evaluator {
  evaluate(statement: unknown, scope: unknown): { readonly value: unknown };
  run(program: ReturnType<typeof parse>): { readonly value: unknown };
}

/**
 * Runs a parsed template. Stops where a value gets too large, before doubling it a few times more exhausts the
 * heap, which no process survives.
 * @throws Error that says which bound was met; what the template raises
 */
export function runTemplate(program: ReturnType<typeof parse>, environment: Environment): string {
  const interpreter = new Interpreter(environment) as unknown as Evaluator;
  const evaluate = interpreter.evaluate.bind(interpreter);
  interpreter.evaluate = (statement, scope) => bounded(evaluate(statement, scope));
  return String(bounded(interpreter.run(program)).value);
}

function bounded<T extends { readonly value: unknown }>(result: T): T {
  const { value } = result;
  if (typeof value === 'string' && value.length > MAX_TEXT) {
    throw new Error(`it makes a text of more than ${MAX_TEXT} characters`);
  }
  if (Array.isArray(value) && value.length > MAX_LIST) {
    throw new Error(`it makes a list of more than ${MAX_LIST} entries`);
  }
  return result;
}
