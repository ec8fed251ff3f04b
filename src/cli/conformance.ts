import type { Command } from 'commander';
import { z } from 'zod';
import { describeIssues, parseJson, readTextFile } from '../checkpoint/json-file.js';
import { SdaError } from '../errors.js';
import { alignColumns } from '../text/columns.js';
import { colours } from './colours.js';
import { print, printJson } from './output.js';

/** A conforming step is this close to the float64 results, absolutely. */
const TOLERANCE = 1e-5;

const logit = z.union([
  z.number(),
  z.literal('-Infinity').transform(() => Number.NEGATIVE_INFINITY),
]);
const caseSchema = z.object({
  name: z.string().optional(),
  base: z.array(logit).min(1),
  instructed: z.array(logit).min(1),
  k: z.number(),
  a: z.number(),
  t0: z.number(),
  sigma: z.number(),
  tmin: z.number(),
  js: z.number(),
  temperature: z.number(),
  probs: z.array(z.number()).min(1),
});
type Case = z.infer<typeof caseSchema>;
const fileSchema = z.object({ cases: z.array(caseSchema).min(1) });

interface CaseErrors {
  readonly name: string;
  readonly js: number;
  readonly temperature: number;
  readonly probs: number;
}

/** `sda conformance`: this package's SDA step against known results. */
export function register(program: Command): void {
  program
    .command('conformance')
    .description('run the SDA step on cases with known results and print its largest errors')
    .argument('<file>', 'cases as in test/fixtures/sda_step.json')
    .option('--json', 'print one JSON object')
    .addHelpText(
      'after',
      `
Exits with 1 when an error of js, temperature or probs is above ${TOLERANCE}.

Example:
  sda conformance test/fixtures/sda_step.json`,
    )
    .action(async (file: string, options: { json?: boolean }) => {
      const errors = await runCases(await readCases(file));
      const largest = {
        js: worst(errors.map(({ js }) => js)),
        temperature: worst(errors.map(({ temperature }) => temperature)),
        probs: worst(errors.map(({ probs }) => probs)),
      };
      const passed = worst(Object.values(largest)) <= TOLERANCE;
      if (options.json) {
        printJson({ passed, tolerance: TOLERANCE, largest_error: largest, cases: errors });
      } else {
        printTable(errors, largest, passed);
      }
      if (!passed) process.exitCode = 1;
    });
}

async function readCases(file: string): Promise<Case[]> {
  const json = parseJson(await readTextFile(file, 'bad-file'), file, 'bad-file');
  const parsed = fileSchema.safeParse(json);
  if (!parsed.success) {
    throw new SdaError(
      'bad-file',
      `${file} does not hold conformance cases (${describeIssues(parsed.error)}); see test/fixtures/sda_step.json for their form.`,
    );
  }
  for (const [index, { name, base, instructed, probs }] of parsed.data.cases.entries()) {
    if (base.length === instructed.length && base.length === probs.length) continue;
    throw new SdaError(
      'bad-file',
      `Case ${index} (${name ?? 'no name'}) of ${file} has ${base.length} base logits, ${instructed.length} instructed logits and ${probs.length} probs where the same number of each is expected; correct it.`,
    );
  }
  return parsed.data.cases;
}

async function runCases(cases: readonly Case[]): Promise<CaseErrors[]> {
  const { conformanceStep, startTensorFlow } = await import('../index.js');
  await startTensorFlow();
  const errors: CaseErrors[] = [];
  for (const [index, test] of cases.entries()) {
    const found = await conformanceStep(test);
    errors.push({
      name: test.name ?? `case ${index}`,
      js: Math.abs(found.js - test.js),
      temperature: Math.abs(found.temperature - test.temperature),
      probs: worst(test.probs.map((p, token) => Math.abs(p - (found.probs[token] ?? Number.NaN)))),
    });
  }
  return errors;
}

/** The largest value; NaN when one is NaN, so that it fails every comparison. */
function worst(values: readonly number[]): number {
  return values.reduce((most, value) => (Number.isNaN(value) ? value : Math.max(most, value)), 0);
}

function printTable(errors: readonly CaseErrors[], largest: Omit<CaseErrors, 'name'>, ok: boolean) {
  const row = (name: string, { js, temperature, probs }: Omit<CaseErrors, 'name'>) => [
    name,
    ...[js, temperature, probs].map((value) => value.toExponential(1)),
  ];
  const rows = [
    ['error of', 'js', 'temperature', 'probs'],
    ...errors.map((error) => row(error.name, error)),
    row('largest', largest),
  ];
  const verdict = ok ? colours().green('passed') : colours().red('FAILED');
  print(`${alignColumns(rows, [1, 2, 3]).join('\n')}\n${verdict}: tolerance ${TOLERANCE}\n`);
}
