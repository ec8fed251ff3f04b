import type { Command } from 'commander';
import { printable } from '../errors.js';
import type { EvaluatorSpec } from '../evaluate/create.js';
import type { Evaluator, Scored } from '../evaluate/types.js';
import { amplify } from '../method/amplification.js';
import { alignColumns } from '../text/columns.js';
import { colours } from './colours.js';
import { EXIT_INTERRUPTED } from './failure.js';
import { openModel, withInterrupt } from './load.js';
import { loadOptions, modelDir } from './options.js';
import { note, print } from './output.js';
import { addScoreOptions, evaluatorSpec, type ScoreOptions } from './score-options.js';
import { type ScoreRow, scoreRows } from './score-rows.js';

/** `sda score`: S of given responses, and a = F(S). */
export function register(program: Command): void {
  const command = program
    .command('score')
    .description('score responses by a judging model, by the model itself, or from a file');
  addScoreOptions(command)
    .addHelpText(
      'after',
      `
Prints S, 0..100, and the amplification a = F(S) of eq 3. Where rows have "expected", Spearman's rank correlation with it
comes last. A response without a score is shown as failed, and the exit code is then 1.

"intrinsic" says how far the instruction moves the model at a response. With the default 135M model that does not follow
the quality of responses: rho -0.06 with 20 expected scores, interval -0.49 to 0.39.

Examples:
  sda score --evaluator openai --query "How are you?" --response "Well, thank you." --core empathy
  sda score --evaluator openai --base-url http://127.0.0.1:8000/v1 --judge-model NAME --file responses.jsonl --json
  sda score --evaluator intrinsic --query "Is the earth flat?" --response "No." --core truthful`,
    )
    .action((options: ScoreOptions) => withInterrupt((signal) => run(options, signal)));
}

async function run(options: ScoreOptions, signal: AbortSignal): Promise<void> {
  const { evaluatorSchema, parseSpec } = await import('../evaluate/create.js');
  const spec = parseSpec(evaluatorSchema, evaluatorSpec(options), 'evaluator');
  const rows = await scoreRows(options);
  await withEvaluator(spec, options, signal, async (evaluator) => {
    const results = await scoreAll(evaluator, rows, spec, signal, (row, scored, index) =>
      print(options.json ? jsonLine(row, scored, options) : textLine(row, scored, index, rows)),
    );
    if (options.file !== undefined) await summarise(rows, results, options);
    if (results.some(({ status }) => status === 'failed')) process.exitCode = 1;
    if (signal.aborted) process.exitCode = EXIT_INTERRUPTED;
  });
}

async function withEvaluator(
  spec: EvaluatorSpec,
  options: ScoreOptions,
  signal: AbortSignal,
  body: (evaluator: Evaluator) => Promise<void>,
): Promise<void> {
  const { createEvaluator } = await import('../evaluate/create.js');
  if (spec.kind !== 'intrinsic') return body(await createEvaluator(spec));
  const { chatTemplate, templateVar: templateVariables } = options;
  const { instruction, placement, system, foldSystem, date = new Date() } = options;
  const prompt = { instruction, placement, system, foldSystem, date, templateVariables };
  const model = await openModel(modelDir(options), {
    ...loadOptions(options),
    chatTemplate,
    signal,
  });
  try {
    await body(await createEvaluator(spec, model, prompt));
  } finally {
    model.dispose();
  }
}

/** Results in the order of the rows, each shown as soon as those before it are. */
async function scoreAll(
  evaluator: Evaluator,
  rows: readonly ScoreRow[],
  spec: EvaluatorSpec,
  signal: AbortSignal,
  show: (row: ScoreRow, scored: Scored, index: number) => void,
): Promise<Scored[]> {
  const { default: pLimit } = await import('p-limit');
  const limit = pLimit(spec.kind === 'openai' ? (spec.concurrency ?? 4) : 1);
  const pending = rows.map((row) => limit(() => evaluator.score(row, { signal })));
  for (const result of pending) result.catch(() => {}); // the first is thrown below
  const results: Scored[] = [];
  for (const [index, result] of pending.entries()) {
    const scored = await result;
    results.push(scored);
    show(rows[index]!, scored, index);
  }
  return results;
}

function textLine(row: ScoreRow, scored: Scored, index: number, rows: readonly ScoreRow[]): string {
  const { red } = colours();
  const nameOf = (row: ScoreRow, at: number) => printable(row.id ?? `${at + 1}`);
  const name = rows.length > 1 ? [nameOf(row, index)] : [];
  const given = row.expected === undefined ? [] : [`expected ${row.expected}`];
  const result =
    scored.status === 'failed'
      ? [`${red('failed')} (${scored.kind}): ${printable(scored.reason)}`]
      : [
          `score ${scored.score.toFixed(2).padStart(6)}`,
          `a ${amplify(scored.score).toFixed(4)}`,
          ...given,
        ];
  // each line comes alone: the names of all make its first column as wide as theirs
  const names = rows.length > 1 ? rows.map((each, at) => [nameOf(each, at)]) : [];
  return `${alignColumns([[...name, ...result], ...names])[0]}\n`;
}

function jsonLine({ id, core, expected }: ScoreRow, scored: Scored, { file }: ScoreOptions) {
  const { provenance } = scored;
  const json = {
    ...(id !== undefined && { id }),
    core,
    status: scored.status,
    ...(scored.status === 'scored'
      ? { score: scored.score, a: amplify(scored.score) }
      : { kind: scored.kind, reason: scored.reason }),
    ...(expected !== undefined && { expected }),
    evaluator: provenance.evaluator,
    model: provenance.model,
    cached: provenance.cached,
    attempts: provenance.attempts,
    tokens: provenance.tokens,
    cost: provenance.cost,
    raw_answer: provenance.rawAnswer,
  };
  return `${JSON.stringify(json, null, file === undefined ? 1 : undefined)}\n`;
}

/** What many results come to: a last line, of the same kind as those before it. */
async function summarise(
  rows: readonly ScoreRow[],
  results: readonly Scored[],
  { json }: ScoreOptions,
): Promise<void> {
  const { spearman } = await import('../evaluate/rank-correlation.js');
  const pairs = results.flatMap((scored, index) => {
    const { expected } = rows[index]!;
    return scored.status === 'scored' && expected !== undefined ? [[scored.score, expected]] : [];
  });
  const scores = pairs.map(([score]) => score!);
  const rho = spearman(
    scores,
    pairs.map(([, expected]) => expected!),
  );
  const asked = rows.some(({ expected }) => expected !== undefined);
  const scored = results.filter(({ status }) => status === 'scored').length;
  const failed = results.length - scored;
  if (json) {
    const spearmanJson = asked && {
      spearman: rho && { rho: rho.value, low: rho.low, high: rho.high, pairs: pairs.length },
    };
    print(`${JSON.stringify({ summary: { scored, failed, ...spearmanJson } })}\n`);
    return;
  }
  if (asked) {
    print(
      rho
        ? `Spearman's rho with expected: ${rho.value.toFixed(3)}, 95% interval ${rho.low.toFixed(3)} to ${rho.high.toFixed(3)}, ${pairs.length} pairs\n`
        : `Spearman's rho with expected: none, of ${pairs.length} pairs (it needs four, and values that differ)\n`,
    );
  }
  note(`${scored} scored, ${failed} failed`);
}
