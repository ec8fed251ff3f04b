import { basename } from 'node:path';
import { z } from 'zod';
import { badLine, readJsonLines } from '../evaluate/json-lines.js';
import type { RuleTrace, TokenTrace } from '../experiment/rows.js';
import { ruleTrace } from '../experiment/traces.js';
import { splitReasoning } from '../text/reasoning.js';
import { courseOf, type PageRun, pageResponse } from './data.js';
import type { Traces } from './page-traces.js';

const headerSchema = z.looseObject({
  type: z.literal('header'),
  trace_version: z.int(),
  model: z.string(),
  settings: z.record(z.string(), z.unknown()),
});
const finite = z.number().nullable();
const stepSchema = z.looseObject({
  type: z.literal('step'),
  text: z.string(),
  js: finite,
  temperature: finite,
  a: finite,
  logp_base: finite,
  logp_instructed: finite,
  logp: finite,
});
type Step = z.infer<typeof stepSchema>;
/** A step of another rule than SDA, with whatever numbers the rule says. */
const ruleStepSchema = z.looseObject({
  type: z.literal('step'),
  text: z.string(),
  logp: finite,
  logps: z.record(z.string(), finite).optional(),
});

/** By the version of the lines that `sda generate --trace` writes */
const FORMS = new Map<number, (steps: readonly unknown[], check: Check) => TokenTrace | RuleTrace>([
  [1, (steps, check) => sdaTrace(check(steps, stepSchema))],
  [2, (steps, check) => ruleTrace(check(steps, ruleStepSchema))],
]);
type Check = <T>(steps: readonly unknown[], schema: z.ZodType<T>) => T[];

const ADVICE = 'give a file that "sda generate --trace" wrote';

/**
 * Reads what `sda generate --trace` wrote, as a run of one answer. A last line that was half written is left out.
 *
 * @throws SdaError `bad-file` naming the line that cannot be used
 */
export function traceRun(file: string, traces: Traces): PageRun {
  const { lines, end } = readJsonLines(file, ADVICE);
  const [first, ...rest] = lines.map(({ value }) => value);
  const fail = (line: number, why: string): never => {
    throw badLine(file, line, why, ADVICE);
  };
  const header = headerSchema.safeParse(first);
  if (!header.success) return fail(1, 'it is not the header of a trace');
  const read = FORMS.get(header.data.trace_version);
  if (!read) {
    const known = [...FORMS.keys()].join(' and ');
    return fail(
      1,
      `it is of version ${header.data.trace_version}, but this release reads ${known}`,
    );
  }
  const trace = read(rest, (steps, schema) =>
    steps.map((value, index) => {
      const step = schema.safeParse(value);
      if (step.success) return step.data;
      const { path, message } = step.error.issues[0]!;
      return fail(index + 2, `${path.join('.') || 'it'}: ${message}`);
    }),
  );
  const a = (rest[0] as { a?: number | null } | undefined)?.a ?? null;
  const run = runOf(file, header.data, { trace, a }, traces);
  return end === 'half' ? { ...run, unfinished: ['the last line is half written'] } : run;
}

function sdaTrace(steps: readonly Step[]): TokenTrace {
  const column = (name: 'js' | 'temperature' | 'logp_base' | 'logp_instructed' | 'logp') =>
    steps.map((step) => step[name]);
  return {
    text: steps.map(({ text }) => text),
    js: column('js'),
    temperature: column('temperature'),
    logpBase: column('logp_base'),
    logpInstructed: column('logp_instructed'),
    logp: column('logp'),
  };
}

function runOf(
  file: string,
  header: z.infer<typeof headerSchema>,
  { trace, a }: { readonly trace: TokenTrace | RuleTrace; readonly a: number | null },
  traces: Traces,
): PageRun {
  const { length } = trace.text;
  const mode = String(header.settings.rule ?? header.settings.mode ?? 'sda');
  const { thinking, answer } = splitReasoning(trace.text.join(''));
  const response = { thinking, answer, finishReason: null, tokens: length, a, trace };
  const course = courseOf(mode, length === 0 ? [] : [trace]);
  const told = ['sda_tfjs', 'node', 'tensorflow', 'device', 'machine'] as const;
  const model = basename(header.model);
  return {
    name: basename(file),
    model,
    dataSet: 'one answer',
    core: '',
    instruction: '',
    methods: [mode],
    views: [{ name: mode, method: mode, against: 'base' }],
    evaluator: '',
    judge: null,
    standIn: false,
    seed: Number(header.settings.seed ?? 0),
    facts: [
      ['Model', model],
      ...told.map((name): [string, string] => [name, String(header[name] ?? 'not told')]),
    ],
    sessions: [],
    unfinished: [],
    settings: header.settings,
    summary: null,
    courses: course ? [course] : [],
    items: [
      {
        id: basename(file),
        query: '',
        labels: {},
        score: null,
        responses: { [mode]: pageResponse(response, traces) },
        verdicts: {},
        gibberish: null,
      },
    ],
  };
}
