import { readFile } from 'node:fs/promises';
import { basename } from 'node:path';
import { z } from 'zod';
import { messageOf, SdaError } from '../errors.js';
import type { Response, TokenTrace } from '../experiment/rows.js';
import { doneRow } from '../experiment/stages.js';
import { courseOf, type PageRun, pageResponse, type Traces } from './data.js';

/** The version of the lines that `sda generate --trace` writes. */
const TRACE_VERSION = 1;

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

/**
 * Reads what `sda generate --trace` wrote, as a run of one answer. A last line that was half written is left out.
 *
 * @throws SdaError `bad-file` naming the line that cannot be used
 */
export async function traceRun(file: string, traces: Traces): Promise<PageRun> {
  const [first, ...rest] = await readLines(file);
  const fail = (line: number, why: string): never => {
    throw new SdaError(
      'bad-file',
      `Line ${line} of ${file} cannot be used: ${why}; give a file that "sda generate --trace" wrote.`,
    );
  };
  const header = headerSchema.safeParse(first);
  if (!header.success) return fail(1, 'it is not the header of a trace');
  if (header.data.trace_version !== TRACE_VERSION) {
    fail(
      1,
      `it is of version ${header.data.trace_version}, but this release reads ${TRACE_VERSION}`,
    );
  }
  const steps = rest.map((value, index): Step => {
    const step = stepSchema.safeParse(value);
    if (step.success) return step.data;
    const { path, message } = step.error.issues[0]!;
    return fail(index + 2, `${path.join('.') || 'it'}: ${message}`);
  });
  return runOf(file, header.data, steps, traces);
}

function runOf(
  file: string,
  header: z.infer<typeof headerSchema>,
  steps: readonly Step[],
  traces: Traces,
): PageRun {
  const column = (name: 'js' | 'temperature' | 'logp_base' | 'logp_instructed' | 'logp') =>
    steps.map((step) => step[name]);
  const trace: TokenTrace = {
    text: steps.map(({ text }) => text),
    js: column('js'),
    temperature: column('temperature'),
    logpBase: column('logp_base'),
    logpInstructed: column('logp_instructed'),
    logp: column('logp'),
  };
  const mode = String(header.settings.mode ?? 'sda');
  const answer = trace.text.join('');
  const response: Response = {
    text: answer,
    thinking: '',
    answer,
    finishReason: 'stop',
    tokens: steps.length,
    promptTokens: { base: 0, instructed: 0 },
    seed: Number(header.settings.seed ?? 0),
    a: steps[0]?.a ?? null,
    trace,
  };
  const course = courseOf(mode, new Map([['trace', doneRow('trace', response)]]));
  const told = ['sda_tfjs', 'node', 'tensorflow', 'device', 'machine'] as const;
  const model = basename(header.model);
  return {
    name: basename(file),
    model,
    dataSet: 'one answer',
    core: '',
    instruction: '',
    methods: [mode],
    evaluator: '',
    judge: null,
    standIn: false,
    seed: response.seed,
    facts: [
      ['Model', model],
      ...told.map((name): [string, string] => [name, String(header[name])]),
    ],
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

async function readLines(file: string): Promise<unknown[]> {
  const lines = (await readFile(file, 'utf8')).split('\n');
  const rest = lines.pop() ?? ''; // '' where the last line is whole
  if (rest !== '') lines.push(rest);
  return lines.flatMap((line, index) => {
    try {
      return [JSON.parse(line) as unknown];
    } catch (error) {
      if (index > 0 && index === lines.length - 1 && rest !== '') return [];
      throw new SdaError(
        'bad-file',
        `Line ${index + 1} of ${file} is no JSON (${messageOf(error)}); give a file that "sda generate --trace" wrote.`,
        { cause: error },
      );
    }
  });
}
