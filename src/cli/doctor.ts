import type { Command } from 'commander';
import type { ServerReport } from '../engine/examine-server.js';
import type { RemoteEngine } from '../engine/open-model.js';
import { type DoctorReport, examine } from '../setup/doctor.js';
import { formatBytes } from '../setup/report.js';
import { alignColumns } from '../text/columns.js';
import { colours } from './colours.js';
import { addEngineOption, type EngineOptions, engineOf } from './engine-option.js';
import { print, printJson } from './output.js';

/** `sda doctor`: says what is installed, and what is missing. */
export function register(program: Command): void {
  const command = program
    .command('doctor')
    .description('print versions, device, kernels, cache paths, free disk and what is missing')
    .option('--json', 'print one JSON object');
  addEngineOption(command, 'say what this server is instead, and whether it draws for sda')
    .addHelpText(
      'after',
      `
Exit status: 0 when everything needed is there, 1 when something is missing.

Examples:
  sda doctor
  sda doctor --json
  sda doctor --engine http://127.0.0.1:8000/v1`,
    )
    .action(async (options: EngineOptions & { json?: boolean }) => {
      const engine = engineOf(options);
      if (engine) return doctorOfServer(engine, options.json === true);
      const report = await examine();
      if (options.json) printJson(report);
      else print(asText(report));
      if (report.problems.length > 0) process.exitCode = 1;
    });
}

async function doctorOfServer(engine: RemoteEngine, json: boolean): Promise<void> {
  const { examineServer, START_WITH } = await import('../engine/examine-server.js');
  const report = await examineServer(engine);
  if (json) printJson(report);
  else print(serverText(report, START_WITH));
  if (report.problems.length > 0) process.exitCode = 1;
}

function serverText(
  { endpoint, vllm, model, plugin, texts, problems }: ServerReport,
  start: readonly string[],
): string {
  const pc = colours();
  const context = model?.maxContext == null ? 'not told' : `${model.maxContext} tokens`;
  const rows: [string, string][] = [
    ['server', endpoint],
    ['vLLM', vllm ?? 'no answer'],
    ['model', model ? `${model.id}, context ${context}` : 'not told'],
    ['sda-vllm', plugin ? 'answers' : 'no answer'],
    ...(plugin
      ? ([
          ['vocabulary', `${plugin.vocabSize} ids`],
          ['ranks', `${plugin.tensorParallel} tensor, ${plugin.pipelineParallel} pipeline`],
          ['at once', `${plugin.places} streams, ${Math.floor(plugin.places / 2)} answers of SDA`],
          ['texts', texts ? 'offered' : 'not offered (VLLM_PLUGINS=sda): give --model'],
        ] satisfies [string, string][])
      : []),
  ];
  const lines = alignColumns([
    ...rows.map(([name, value]) => [pc.bold(name), value]),
    ...problems.map((problem) => [pc.red('problem'), problem]),
  ]);
  if (problems.length === 0)
    lines.push(pc.green('It draws the tokens of sda generate and sda run.'));
  else if (vllm !== null && !plugin) lines.push('Started so, it would:', ...start);
  return `${lines.join('\n')}\n`;
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
