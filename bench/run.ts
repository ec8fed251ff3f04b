import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describeEnvironment } from '../src/bench/environment.js';
import { messageOf } from '../src/errors.js';
import { packageRoot } from '../src/runtime/paths.js';
import { alignColumns } from '../src/text/columns.js';
import { type BenchRow, type KernelBench, runCase } from './harness.js';

const KERNELS = [
  'step',
  'cut',
  'sample',
  'linear',
  'decoder-layer',
  'quantise',
  'embed',
  'copy-row',
  'upload',
  'read-back',
];
const USAGE = `npm run bench -- [KERNEL ...] [--quick]; kernels: ${KERNELS.join(', ')}`;

/** Times every kernel; a table on stdout, JSON in bench/results/. */
async function main(args: readonly string[]): Promise<void> {
  const quick = args.includes('--quick');
  const wanted = args.filter((arg) => !arg.startsWith('--'));
  if (args.includes('--help')) return print(USAGE);
  const unknown = args.find((arg) => arg !== '--quick' && !KERNELS.includes(arg));
  if (unknown) throw new Error(`"${unknown}" is no kernel and no option: ${USAGE}.`);

  const environment = await describeEnvironment();
  const { machine, versions, kernels } = environment;
  print(
    `${machine.cpu}, ${machine.threads} threads, TensorFlow ${versions.tensorflow}, kernels ${kernels}\n`,
  );
  const rows: BenchRow[] = [];
  for (const kernel of wanted.length > 0 ? wanted : KERNELS) {
    const { bench } = (await import(`./kernels/${kernel}.bench.js`)) as { bench: KernelBench };
    for (const make of quick ? bench.cases.slice(0, 2) : bench.cases) {
      const measured = await runCase(bench.kernel, make, quick ? 0.2 : 0.6);
      rows.push(...measured);
      print(table(measured));
    }
  }
  const folder = join(packageRoot(), 'bench', 'results');
  mkdirSync(folder, { recursive: true });
  const file = join(folder, `kernels-${environment.date.replaceAll(':', '')}.json`);
  writeFileSync(file, `${JSON.stringify({ ...environment, rows }, null, 1)}\n`);
  print(`\nwritten to ${file}`);
}

/** The variants of one case, the first what others are held against. */
function table(rows: readonly BenchRow[]): string {
  const [first] = rows;
  const lines = rows.map((row) => [
    `  ${row.variant}`,
    row.medianMs.toFixed(3),
    row.marginPercent.toFixed(0),
    row.ratio.toFixed(2),
    row.gigabytesPerSecond.toFixed(2),
  ]);
  const header = [`${first!.kernel} ${first!.case}`, 'median ms', '+-%', 'ratio', 'GB/s'];
  return alignColumns([header, ...lines], [1, 2, 3, 4]).join('\n');
}

function print(text: string): void {
  process.stdout.write(`${text}\n`);
}

main(process.argv.slice(2)).catch((error: unknown) => {
  process.stderr.write(`${messageOf(error)}\n`);
  process.exitCode = 1;
});
