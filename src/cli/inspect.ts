import { basename } from 'node:path';
import { type Command, Option } from 'commander';
import { SdaError } from '../errors.js';
import { examineConfig, examineFolder } from '../model/folder.js';
import type { HubWeights } from '../model/hub/open.js';
import type { KvDtype } from '../model/kv-dtype.js';
import { Problems } from '../model/problems.js';
import { inspectText } from './inspect-text.js';
import {
  type Inspection,
  inspectionJson,
  inspectionText,
  type Stored,
  totalOf,
} from './inspection.js';
import { requireModelDir } from './load.js';
import { addModelOption, kvOption, modelDir, number, wholeNumber } from './options.js';
import { print, printJson } from './output.js';

interface InspectOptions {
  readonly model?: string;
  readonly config?: string;
  readonly context?: number;
  readonly batch: number;
  readonly streams: number;
  readonly kv: KvDtype;
  readonly tieMissingHead?: boolean;
  readonly json?: boolean;
}

const streams = number('1 or 2', (value) => value === 1 || value === 2);

/** `sda inspect`: what a model folder holds, from its config and headers alone. */
export function register(program: Command): void {
  const command = program
    .command('inspect [dir]')
    .description('describe a model folder from its config and headers, without loading it');
  addModelOption(command)
    .addOption(new Option('--config <file>', 'describe a config.json alone').conflicts('model'))
    .option('--tie-missing-head', 'take the embedding where an untied lm_head is missing')
    .option('--context <n>', 'plan the memory for so many tokens (default: 4096)', wholeNumber(1))
    .option('--batch <n>', 'plan the memory for so many queries at once', wholeNumber(1), 1)
    .addOption(
      new Option('--streams <n>', 'streams of a query: 2 for SDA, 1 for a model alone')
        .argParser(streams)
        .default(2),
    )
    .addOption(kvOption())
    .option('--json', 'print one JSON object')
    .addHelpText(
      'after',
      `
Lists every problem that it finds, and exits with 1 when there is one.

Examples:
  sda inspect
  sda inspect path/to/model --json
  sda inspect --config config.json --context 32768 --batch 8`,
    )
    .action(async (dir: string | undefined, options: InspectOptions) => {
      if (dir !== undefined && (options.model ?? options.config) !== undefined) {
        throw new SdaError(
          'usage',
          'There are two things to inspect: give DIR, --model or --config.',
        );
      }
      const found = await inspect(dir === undefined ? options : { ...options, model: dir });
      if (options.json) printJson(inspectionJson(found));
      else print(inspectionText(found));
      if (found.problems.length > 0) process.exitCode = 1;
    });
}

/** What a model folder (or a config.json alone) holds; one without problems can be loaded. */
export async function inspect(options: InspectOptions): Promise<Inspection> {
  const dir = options.config ?? modelDir(options);
  const alone = options.config !== undefined;
  if (!alone) requireModelDir(dir);
  const found = alone ? await examineConfig(dir) : await examineFolder(dir, options);
  const { config, checkpoint, checked, hub, settings } = found;
  await checkpoint?.close();
  // an import makes the tokenizer as well
  const text = alone || found.foreign ? null : await inspectText(dir, config);
  const { kvBytesPerToken } = await import('../model/kv-cache.js');
  const { modelMemory } = await import('../runtime/memory.js');
  const { checkMemory, parameterCount, planMemory, plannedWeights, weightBytes } = await import(
    '../model/memory-plan.js'
  );
  const dtypes = checkpoint ? byDtype(hub ?? { base: checkpoint, matrices: new Map() }) : {};
  const { context, batch, streams, kv } = options;
  const loaded = checked && checkpoint && { checked, checkpoint };
  const { available, device } = await modelMemory();
  const { hubToLoad } = await import('../model/hub/carried.js');
  const { carriedBytes } = await import('../model/hub/describe.js');
  const carried =
    config && loaded && hub ? hubToLoad(config, hub, loaded, device !== null) : loaded;
  const floatBytes = config?.dtype === 'float32' ? 4 : 2;
  const weights =
    config &&
    (carried
      ? plannedWeights(carried.checked, carried.checkpoint.tensors, 'auto')
      : weightBytes(config, floatBytes, (settings && carriedBytes(settings)) ?? floatBytes));
  const needs = {
    weights: weights ?? 0,
    available,
    device,
    kv,
    ...(context !== undefined && { context }),
  };
  const problems = new Problems([...found.problems]);
  if (config && checked) problems.attempt(() => checkMemory(config, needs, dir));
  return {
    dir,
    config,
    dtypes,
    parameters: config ? parameterCount(config) : totalOf(dtypes, 'parameters'),
    plan: config && planMemory(config, { ...needs, batch, streams }),
    files: checkpoint
      ? [
          ...new Set(
            [...(hub?.base ?? checkpoint).tensors.values()].map(({ file }) => basename(file)),
          ),
        ].sort()
      : [],
    batch,
    kvBytesPerToken: config && kvBytesPerToken(config, kv),
    endings: text?.endings ?? (config?.endings ?? []).map((each) => ({ ...each, token: null })),
    text,
    warnings: [...found.warnings, ...(text?.warnings ?? [])],
    problems: [...problems.all.map(({ message }) => message), ...(text?.problems ?? [])],
  };
}

function byDtype({
  base,
  matrices,
}: Pick<HubWeights, 'base' | 'matrices'>): Record<string, Stored> {
  const totals: Record<string, Stored> = Object.create(null); // a file names its dtypes as it likes
  const count = (dtype: string, tensors: number, parameters: number, bytes: number) => {
    totals[dtype] ??= { tensors: 0, parameters: 0, bytes: 0 };
    const total = totals[dtype];
    total.tensors += tensors;
    total.parameters += parameters;
    total.bytes += bytes;
  };
  const parts = new Set([...matrices.values()].flatMap((matrix) => matrix.parts));
  for (const [name, { dtype, shape, byteLength }] of base.tensors) {
    const parameters = shape.reduce((product, size) => product * size, 1);
    if (!parts.has(name)) count(dtype, 1, parameters, byteLength);
  }
  for (const { dtype, how, parts, rows, columns, storedBytes } of matrices.values()) {
    count(`${dtype} (${how})`, parts.length, rows * columns, storedBytes);
  }
  return totals;
}
