import type { Command } from 'commander';
import { type DoctorReport, examine } from '../setup/doctor.js';
import { formatBytes } from '../setup/report.js';
import { alignColumns } from '../text/columns.js';
import { colours } from './colours.js';
import { print, printJson } from './output.js';

/** `sda doctor`: says what is installed, and what is missing. */
export function register(program: Command): void {
  program
    .command('doctor')
    .description('print versions, device, kernels, cache paths, free disk and what is missing')
    .option('--json', 'print one JSON object')
    .addHelpText(
      'after',
      `
Exit status: 0 when everything needed is there, 1 when something is missing.

Examples:
  sda doctor
  sda doctor --json`,
    )
    .action(async (options: { json?: boolean }) => {
      const report = await examine();
      if (options.json) printJson(report);
      else print(asText(report));
      if (report.problems.length > 0) process.exitCode = 1;
    });
}

function asText(report: DoctorReport): string {
  const { versions, machine, kernels, paths } = report;
  const cached = Object.entries(report.cache).map(([name, size]) => `${name} ${formatBytes(size)}`);
  const rows: [string, string][] = [
    ['sda-tfjs', versions['sda-tfjs']],
    ['node', versions.node],
    ['tfjs', versions.tfjs],
    ['TensorFlow', versions.tensorflow ?? 'not loadable'],
    ['platform', machine.platform],
    ['CPU', `${machine.cpu}, ${machine.cores} cores`],
    ['memory', `${formatBytes(machine.memory)}, ${formatBytes(machine.freeMemory)} free`],
    ...gpuRows(report.gpu),
    ['device', report.device?.toUpperCase() ?? 'none'],
    ['kernels', describeKernels(kernels)],
    ['TensorFlow at', paths.tensorflow ?? 'not set up'],
    ['binding at', paths.binding],
    ['kernels at', kernels.path],
    ['model', `${report.model}, ${paths.model}`],
    ['cache', `${paths.cache} (${cached.join(', ') || 'empty'})`],
    ['free disk', formatBytes(report.freeDisk)],
  ];
  const pc = colours();
  const lines = alignColumns([
    ...rows.map(([name, value]) => [pc.bold(name), value]),
    ...report.warnings.map((warning) => [pc.yellow('warning'), warning]),
    ...report.problems.map((problem) => [pc.red('missing'), problem]),
  ]);
  if (report.problems.length === 0) lines.push(pc.green('Everything needed is there.'));
  return `${lines.join('\n')}\n`;
}

/** One line without a GPU; else one for each and one for the driver. */
function gpuRows({ gpus, driver, cuda, reason }: DoctorReport['gpu']): [string, string][] {
  if (gpus.length === 0) return [['GPU', `none visible (${reason})`]];
  const rows = gpus.map(({ name, computeCapability, memory, freeMemory }): [string, string] => [
    'GPU',
    [
      name,
      ...(computeCapability === null ? [] : [`compute capability ${computeCapability}`]),
      ...(memory === null ? [] : [formatBytes(memory)]),
      ...(freeMemory === null ? [] : [`${formatBytes(freeMemory)} free`]),
    ].join(', '),
  ]);
  const runs = cuda === null ? '' : `, runs CUDA ${cuda}`;
  return [...rows, ['GPU driver', `${driver ?? 'version unknown'}${runs}`]];
}

function describeKernels(kernels: DoctorReport['kernels']): string {
  const setting = kernels.setting === 'auto' ? '' : ` (SDA_KERNELS=${kernels.setting})`;
  const names = kernels.form === 'native' ? `: ${kernels.operations.join(', ')}` : '';
  const built = kernels.gpuOperations.join(', ') || 'none';
  const gpu = kernels.nvcc === null ? '' : `; for the GPU, by nvcc ${kernels.nvcc}: ${built}`;
  return `${kernels.form}${names}${gpu}${setting}`;
}
