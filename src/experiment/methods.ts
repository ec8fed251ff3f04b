import { SdaError } from '../errors.js';
import type { ExperimentConfig } from './config.js';
import { againstBase, METHODS, type Method, type Pairing } from './rows.js';

type Compared = Pick<ExperimentConfig, 'methods' | 'rules' | 'compare' | 'judge'>;

/** @throws SdaError `bad-input` naming what is no method of the run, and those that are */
export function checkMethodNames(
  { methods, rules = [], compare = [] }: Compared,
  where: string,
): void {
  const known: readonly string[] = [...METHODS, ...rules.map(({ name }) => name)];
  const named = [
    ...methods.map((name, index) => [`methods.${index}`, name] as const),
    ...compare.flatMap((pair, index) =>
      pair.map((name, side) => [`compare.${index}.${side}`, name] as const),
    ),
  ];
  const unknown = named.find(([, name]) => !known.includes(name));
  if (!unknown) return;
  const [place, name] = unknown;
  throw new SdaError(
    'bad-input',
    `${where}.${place}: there is no method "${name}": the methods are ${known.join(', ')}.`,
  );
}

/** Why the comparisons that a configuration names cannot be made; null where they can. */
export function comparisonProblem({
  compare = [],
  judge,
  methods,
  rules,
}: Compared): string | null {
  if (compare.length > 0 && !judge) return 'there is no judge to compare by: add a section "judge"';
  const seen = new Set<string>();
  for (const [method, against] of compare) {
    const pair = `[${method}, ${against}]`;
    if (method === against) return `${pair} compares a method with itself: name two`;
    if (method === 'base') return `${pair} has base first: write [${against}, base]`;
    const decoded = methodsOf({ methods, rules });
    const absent = [method, against].find((each) => !decoded.includes(each));
    if (absent) return `${pair} names ${absent}, which is not among the methods: add it to them`;
    const key = [method, against].sort().join();
    if (seen.has(key)) return `${pair} is there twice, in one order or both: keep one`;
    seen.add(key);
  }
  return null;
}

/**
 * The methods of a run, in the order of METHODS, with its rules before the aligner, which takes the model's place; base
 * is always one.
 */
export function methodsOf({
  methods,
  rules = [],
}: Pick<ExperimentConfig, 'methods' | 'rules'>): Method[] {
  const wanted = METHODS.filter((method) => method === 'base' || methods.includes(method));
  const before = wanted.filter((method) => method !== 'aligner');
  const aligner = wanted.filter((method) => method === 'aligner');
  return [...before, ...rules.map(({ name }) => name), ...aligner];
}

/** The entry of a method that is a rule. */
export function ruleOf({ rules = [] }: Pick<ExperimentConfig, 'rules'>, method: Method) {
  return rules.find(({ name }) => name === method);
}

/** What the judge compares; nothing without a judge. */
export function pairingsOf(config: ExperimentConfig): Pairing[] {
  if (!config.judge) return [];
  return (
    config.compare?.map(([method, against]) => ({ method, against })) ??
    againstBase(methodsOf(config))
  );
}
