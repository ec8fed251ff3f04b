import { basename } from 'node:path';
import { type Command, Option } from 'commander';
import { type Checkpoint, openCheckpoint } from '../checkpoint/checkpoint.js';
import { SdaError } from '../errors.js';
import { loadConfig, loadConfigFile, type ModelConfig } from '../model/config.js';
import { checkTensors } from '../model/families.js';
import type { MemoryPlan } from '../model/memory-plan.js';
import { problemsIn } from '../model/problems.js';
import { formatBytes } from '../setup/report.js';
import { inspectText, loaded, type TextReport } from './inspect-text.js';
import { requireModelDir } from './load.js';
import { addModelOption, modelDir, wholeNumber } from './options.js';
import { colours, print, printJson } from './output.js';

interface Stored {
  tensors: number;
  parameters: number;
  bytes: number;
}

interface Inspection {
  readonly dir: string;
  readonly config: ModelConfig | null;
  /** By dtype, of every tensor in the checkpoint */
  readonly dtypes: Readonly<Record<string, Stored>>;
  readonly files: readonly string[];
  /** Of one position in one stream */
  readonly kvBytesPerToken: number | null;
  readonly parameters: number;
  readonly plan: MemoryPlan | null;
  /** null where a config.json alone is described */
  readonly text: TextReport | null;
  readonly warnings: readonly string[];
  readonly problems: readonly string[];
}

interface InspectOptions {
  readonly model?: string;
  readonly config?: string;
  readonly context?: number;
  readonly tieMissingHead?: boolean;
  readonly json?: boolean;
}

/** `sda inspect`: what a model folder holds, from its config and headers alone. */
export function register(program: Command): void {
  const command = program
    .command('inspect [dir]')
    .description('describe a model folder from its config and headers, without loading it');
  addModelOption(command)
    .addOption(new Option('--config <file>', 'describe a config.json alone').conflicts('model'))
    .option('--tie-missing-head', 'take the embedding where an untied lm_head is missing')
    .option('--context <n>', 'plan the memory for so many tokens (default: 4096)', wholeNumber(1))
    .option('--json', 'print one JSON object')
    .addHelpText(
      'after',
      `
Lists every problem that it finds, and exits with 1 when there is one.

Examples:
  sda inspect
  sda inspect path/to/model --json
  sda inspect --config config.json --context 32768`,
    )
    .action(async (dir: string | undefined, options: InspectOptions) => {
      if (dir !== undefined && (options.model ?? options.config) !== undefined) {
        throw new SdaError(
          'usage',
          'There are two things to inspect: give DIR, --model or --config.',
        );
      }
      const found = await inspect(dir === undefined ? options : { ...options, model: dir });
      if (options.json) printJson(toJson(found));
      else print(report(found));
      if (found.problems.length > 0) process.exitCode = 1;
    });
}

async function inspect(options: InspectOptions): Promise<Inspection> {
  const dir = options.config ?? modelDir(options);
  const alone = options.config !== undefined;
  if (!alone) requireModelDir(dir);
  const problems: string[] = [];
  const attempt = <T>(body: () => Promise<T> | T) =>
    loaded(body, (error) => {
      problems.push(...problemsIn(error).map(({ message }) => message));
    });
  const config = await attempt(() => (alone ? loadConfigFile(dir) : loadConfig(dir)));
  const checkpoint = alone ? null : await attempt(() => openCheckpoint(dir));
  await checkpoint?.close();
  const checked =
    config &&
    checkpoint &&
    (await attempt(() =>
      checkTensors(config, checkpoint.tensors, dir, {
        tieMissingHead: options.tieMissingHead === true,
      }),
    ));
  const text = alone ? null : await inspectText(dir, config);
  const { kvBytesPerToken } = await import('../model/kv-cache.js');
  const { modelMemory } = await import('../runtime/memory.js');
  const { parameterCount, planMemory, plannedWeights, weightBytes } = await import(
    '../model/memory-plan.js'
  );
  const dtypes = checkpoint ? byDtype(checkpoint) : {};
  const { context } = options;
  const { available, device } = await modelMemory();
  return {
    dir,
    config,
    dtypes,
    parameters: config ? parameterCount(config) : totalOf(dtypes, 'parameters'),
    plan:
      config &&
      planMemory(config, {
        weights:
          checked && checkpoint
            ? plannedWeights(checked, checkpoint.tensors, 'auto')
            : weightBytes(config, config.dtype === 'float32' ? 4 : 2),
        available,
        device,
        ...(context !== undefined && { context }),
      }),
    files: checkpoint
      ? [...new Set([...checkpoint.tensors.values()].map(({ file }) => basename(file)))].sort()
      : [],
    kvBytesPerToken: config && kvBytesPerToken(config),
    text,
    warnings: [
      ...(checkpoint?.warnings ?? []),
      ...(checked?.warnings ?? []),
      ...(text?.warnings ?? []),
    ],
    problems: [...problems, ...(text?.problems ?? [])],
  };
}

function byDtype(checkpoint: Checkpoint): Record<string, Stored> {
  const totals: Record<string, Stored> = Object.create(null); // a file names its dtypes as it likes
  for (const { dtype, shape, byteLength } of checkpoint.tensors.values()) {
    totals[dtype] ??= { tensors: 0, parameters: 0, bytes: 0 };
    const total = totals[dtype];
    total.tensors++;
    total.parameters += shape.reduce((product, size) => product * size, 1);
    total.bytes += byteLength;
  }
  return totals;
}

function totalOf(dtypes: Inspection['dtypes'], key: keyof Stored): number {
  return Object.values(dtypes).reduce((sum, stored) => sum + stored[key], 0);
}

function toJson(found: Inspection) {
  const { dir, config, dtypes, files, kvBytesPerToken, text, plan, parameters, ...rest } = found;
  return {
    dir,
    architecture: config && {
      model_type: config.modelType,
      layers: config.numLayers,
      hidden_size: config.hiddenSize,
      intermediate_size: config.intermediateSize,
      heads: config.numHeads,
      key_value_heads: config.numKeyValueHeads,
      head_dim: config.headDim,
      vocab_size: config.vocabSize,
      max_position_embeddings: config.maxPositionEmbeddings,
      rope: config.rope,
      sliding_window: config.slidingWindow,
      tied_head: config.tieWordEmbeddings,
      qkv_bias: config.attentionBias,
      qk_norm: config.qkNorm,
      eos_token_ids: config.eosTokenIds,
    },
    parameters,
    dtypes,
    bytes: totalOf(dtypes, 'bytes'),
    files,
    kv_bytes_per_token: kvBytesPerToken && {
      one_stream: kvBytesPerToken,
      both_streams: 2 * kvBytesPerToken,
    },
    memory: plan && {
      context: plan.context,
      weights: plan.weights,
      kv_cache: plan.kvCache,
      work: plan.work,
      total: plan.total,
      available: plan.available,
      device: plan.device,
      fits: plan.fits,
    },
    tokenizer: text?.tokenizer
      ? { tokens: text.tokenizer.tokens, rows_without_token: text.tokenizer.paddedRows }
      : null,
    chat_template: text?.template
      ? {
          origin: text.template.origin,
          takes_system_turn: text.template.takesSystem,
          adds_bos: text.template.addsBos,
          opens_thinking: text.template.opensThinking,
        }
      : null,
    ...rest,
  };
}

function report(found: Inspection): string {
  const { bold, dim, red, yellow, green } = colours();
  const { config, dtypes, kvBytesPerToken, text, plan, parameters } = found;
  const rows: [string, string][] = config ? describeConfig(config) : [];
  if (parameters > 0) rows.push(['parameters', count(parameters)]);
  const bytes = totalOf(dtypes, 'bytes');
  if (bytes > 0) {
    const files = found.files.length === 1 ? found.files[0] : `${found.files.length} files`;
    rows.push(['weights', `${formatBytes(bytes)} in ${files}`]);
    for (const [dtype, stored] of Object.entries(dtypes)) {
      rows.push([`  ${dtype}`, `${formatBytes(stored.bytes)} in ${stored.tensors} tensors`]);
    }
  }
  if (config && kvBytesPerToken) {
    const both = 2 * kvBytesPerToken;
    const full = formatBytes(both * config.maxPositionEmbeddings);
    rows.push(['KV cache', `${formatBytes(both)} per token for both streams, ${full} when full`]);
  }
  if (plan) {
    rows.push(['memory', `${formatBytes(plan.total)} with 2 streams of ${plan.context} tokens`]);
    rows.push(['  weights', formatBytes(plan.weights)]);
    rows.push(['  KV cache', formatBytes(plan.kvCache)]);
    rows.push(['  to work', `about ${formatBytes(plan.work)}`]);
    const fit = plan.fits ? 'fits' : 'does not fit';
    rows.push([
      plan.device === null ? '  free here' : `  free on ${plan.device}`,
      `${formatBytes(plan.available)}: it ${fit}`,
    ]);
  }
  if (text) rows.push(...describeText(text));
  const width = Math.max(...rows.map(([label]) => label.length));
  const lines = [
    bold(found.dir),
    ...rows.map(([label, value]) => `  ${dim(label.padEnd(width))}  ${value}`),
    ...found.warnings.map((warning) => `${yellow('warning:')} ${warning}`),
    ...found.problems.map((problem) => `${red('problem:')} ${problem}`),
    ...(found.problems.length === 0 && text ? [green('ready to run')] : []),
  ];
  return `${lines.join('\n')}\n`;
}

function describeText({ tokenizer, template }: TextReport): [string, string][] {
  const padding = tokenizer?.paddedRows
    ? `, ${tokenizer.paddedRows} rows of the head have none and are never drawn`
    : '';
  const traits = template && [
    template.takesSystem ? 'takes a system turn' : 'takes no system turn (--fold-system)',
    template.addsBos ? 'writes the beginning-of-text token' : 'writes no beginning-of-text token',
    ...(template.opensThinking ? ['opens the thinking'] : []),
  ];
  return [
    ['tokenizer', tokenizer ? `${tokenizer.tokens} tokens${padding}` : 'none'],
    [
      'chat template',
      template && traits ? `${basename(template.origin)}, ${traits.join(', ')}` : 'none',
    ],
  ];
}

function describeConfig(config: ModelConfig): [string, string][] {
  const { numHeads, numKeyValueHeads, headDim, rope } = config;
  const traits = [
    config.tieWordEmbeddings ? 'head tied to the embedding' : 'own head',
    ...(config.attentionBias ? ['q/k/v bias'] : []),
    ...(config.qkNorm ? ['q/k norm'] : []),
    ...(config.slidingWindow ? [`sliding window of ${config.slidingWindow}`] : []),
  ];
  return [
    ['architecture', `${config.modelType}, ${config.numLayers} layers, ${traits.join(', ')}`],
    ['hidden size', `${config.hiddenSize}, ${config.intermediateSize} in the MLP`],
    ['attention', `${numHeads} heads of ${headDim}, ${numKeyValueHeads} for keys and values`],
    ['positions', `${config.maxPositionEmbeddings}, RoPE ${rope.type}, theta ${rope.theta}`],
    [
      'vocabulary',
      `${config.vocabSize} tokens, ends at ${config.eosTokenIds.join(', ') || 'none'}`,
    ],
  ];
}

function count(parameters: number): string {
  if (parameters >= 1e9) return `${(parameters / 1e9).toFixed(2)} billion`;
  if (parameters >= 1e6) return `${(parameters / 1e6).toFixed(1)} million`;
  return parameters.toLocaleString('en');
}
