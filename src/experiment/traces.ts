import type { GenerateStep } from '../generate/types.js';
import type { Choice } from '../method/rule.js';
import type { RuleTrace, TokenTrace } from './rows.js';

type Column = readonly (number | null)[];

/** What each token was drawn with: in the form that SDA's rows have always had, or in that of any rule. */
export function traceOf(steps: readonly GenerateStep<Choice>[]): TokenTrace | RuleTrace {
  return steps.every((step) => 'logpBase' in step)
    ? sdaTrace(steps as unknown as readonly GenerateStep[])
    : ruleTrace(steps);
}

function sdaTrace(steps: readonly GenerateStep[]): TokenTrace {
  const column = (pick: (step: GenerateStep) => number) => steps.map((step) => rounded(pick(step)));
  return {
    text: steps.map(({ text }) => text),
    js: column(({ js }) => js),
    temperature: column(({ temperature }) => temperature),
    logpBase: column(({ logpBase }) => logpBase),
    logpInstructed: column(({ logpInstructed }) => logpInstructed),
    logp: column(({ logp }) => logp),
  };
}

/** What of a step is no statistic of its rule */
const ASIDE: ReadonlySet<string> = new Set([
  'type',
  'step',
  'id',
  'text',
  'parts',
  'logp',
  'logps',
]);

/** Columns of whatever numbers the steps of a rule hold; null where a step has none of that name. */
export function ruleTrace(
  steps: readonly { readonly text: string; readonly logp?: unknown; readonly logps?: unknown }[],
): RuleTrace {
  const others = steps.map((step) =>
    Object.fromEntries(Object.entries(step).filter(([name]) => !ASIDE.has(name))),
  );
  return {
    text: steps.map(({ text }) => text),
    logp: steps.map(({ logp }) => rounded(logp)),
    logps: columnsOf(steps.map(({ logps }) => logps)),
    statistics: columnsOf(others),
  };
}

function columnsOf(values: readonly unknown[]): Record<string, Column> {
  const flat = values.map((value) => new Map(numbersIn(value)));
  const names = [...new Set(flat.flatMap((each) => [...each.keys()]))];
  return Object.fromEntries(
    names.map((name) => [name, flat.map((each) => rounded(each.get(name)))] as const),
  );
}

/** The numbers of a value by their path, such as `details.scoreEntropy`; null is one that is not finite. */
function numbersIn(value: unknown, path = ''): [path: string, number | null][] {
  if (path !== '' && (typeof value === 'number' || value === null)) return [[path, value]];
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return [];
  return Object.entries(value).flatMap(([name, each]) =>
    numbersIn(each, path === '' ? name : `${path}.${name}`),
  );
}

function rounded(value: unknown): number | null {
  return typeof value === 'number' && Number.isFinite(value) ? Number(value.toPrecision(4)) : null;
}

/** One quantity along a text; empty where its rule does not say it. */
export function statisticOf(
  trace: TokenTrace | RuleTrace | null,
  name: 'js' | 'temperature',
): Column {
  if (trace === null) return [];
  return 'statistics' in trace ? (trace.statistics[name] ?? []) : trace[name];
}
