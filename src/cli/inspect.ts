import { existsSync } from 'node:fs';
import { basename, join } from 'node:path';
import type { Command } from 'commander';
import { type Checkpoint, openCheckpoint } from '../checkpoint/checkpoint.js';
import { messageOf, SdaError } from '../errors.js';
import { loadConfig, type ModelConfig } from '../model/config.js';
import { checkTensors } from '../model/families.js';
import { formatBytes } from '../setup/report.js';
import { requireModelDir } from './load.js';
import { addModelOption, modelDir } from './options.js';
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
  readonly text: { readonly tokenizer: boolean; readonly chatTemplate: boolean };
  readonly warnings: readonly string[];
  readonly problems: readonly string[];
}

/** `sda inspect`: what a model folder holds, from its config and headers alone. */
export function register(program: Command): void {
  const command = program
    .command('inspect')
    .description('describe a model folder from its config and headers, without loading it');
  addModelOption(command)
    .option('--json', 'print one JSON object')
    .addHelpText(
      'after',
      `
Lists every problem that it finds, and exits with 1 when there is one.

Examples:
  sda inspect
  sda inspect --model path/to/model --json`,
    )
    .action(async (options: { model?: string; json?: boolean }) => {
      const found = await inspect(modelDir(options));
      if (options.json) printJson(toJson(found));
      else print(report(found));
      if (found.problems.length > 0) process.exitCode = 1;
    });
}

async function inspect(dir: string): Promise<Inspection> {
  requireModelDir(dir);
  const problems: string[] = [];
  const attempt = async <T>(body: () => Promise<T> | T): Promise<T | null> => {
    try {
      return await body();
    } catch (error) {
      if (!(error instanceof SdaError)) throw error;
      problems.push(messageOf(error));
      return null;
    }
  };
  const config = await attempt(() => loadConfig(dir));
  const checkpoint = await attempt(() => openCheckpoint(dir));
  await checkpoint?.close();
  const checked =
    config && checkpoint && (await attempt(() => checkTensors(config, checkpoint.tensors, dir)));
  const text = {
    tokenizer: existsSync(join(dir, 'tokenizer.json')),
    chatTemplate: await hasChatTemplate(dir, problems),
  };
  const { kvBytesPerToken } = await import('../model/kv-cache.js');
  return {
    dir,
    config,
    dtypes: checkpoint ? byDtype(checkpoint) : {},
    files: checkpoint
      ? [...new Set([...checkpoint.tensors.values()].map(({ file }) => basename(file)))].sort()
      : [],
    kvBytesPerToken: config && kvBytesPerToken(config),
    text,
    warnings: [
      ...(checkpoint?.warnings ?? []),
      ...(checked?.warnings ?? []),
      ...missingText(dir, text),
    ],
    problems,
  };
}

async function hasChatTemplate(dir: string, problems: string[]): Promise<boolean> {
  const { loadChatTemplate } = await import('../text/chat-template.js');
  try {
    return (await loadChatTemplate(dir)) !== null;
  } catch (error) {
    if (!(error instanceof SdaError)) throw error;
    problems.push(error.message);
    return false;
  }
}

function missingText(dir: string, text: Inspection['text']): string[] {
  const warnings: string[] = [];
  if (!text.tokenizer) warnings.push(`${dir} has no tokenizer.json: it can be run on ids alone.`);
  else if (!text.chatTemplate) {
    warnings.push(
      `${dir} has no chat template: give one with --chat-template to ask it questions.`,
    );
  }
  return warnings;
}

function byDtype(checkpoint: Checkpoint): Record<string, Stored> {
  const totals: Record<string, Stored> = {};
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

function toJson({ dir, config, dtypes, files, kvBytesPerToken, text, ...rest }: Inspection) {
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
    parameters: totalOf(dtypes, 'parameters'),
    dtypes,
    bytes: totalOf(dtypes, 'bytes'),
    files,
    kv_bytes_per_token: kvBytesPerToken && {
      one_stream: kvBytesPerToken,
      both_streams: 2 * kvBytesPerToken,
    },
    tokenizer: text.tokenizer,
    chat_template: text.chatTemplate,
    ...rest,
  };
}

function report(found: Inspection): string {
  const { bold, dim, red, yellow, green } = colours();
  const { config, dtypes, kvBytesPerToken, text } = found;
  const rows: [string, string][] = config ? describeConfig(config) : [];
  const parameters = totalOf(dtypes, 'parameters');
  if (parameters > 0) {
    const bytes = totalOf(dtypes, 'bytes');
    const files = found.files.length === 1 ? found.files[0] : `${found.files.length} files`;
    rows.push(['parameters', count(parameters)], ['weights', `${formatBytes(bytes)} in ${files}`]);
    for (const [dtype, stored] of Object.entries(dtypes)) {
      rows.push([`  ${dtype}`, `${formatBytes(stored.bytes)} in ${stored.tensors} tensors`]);
    }
  }
  if (config && kvBytesPerToken) {
    const both = 2 * kvBytesPerToken;
    const full = formatBytes(both * config.maxPositionEmbeddings);
    rows.push(['KV cache', `${formatBytes(both)} per token for both streams, ${full} when full`]);
  }
  rows.push(['tokenizer', text.tokenizer ? 'tokenizer.json' : 'none']);
  rows.push(['chat template', text.chatTemplate ? 'yes' : 'none']);
  const width = Math.max(...rows.map(([label]) => label.length));
  const lines = [
    bold(found.dir),
    ...rows.map(([label, value]) => `  ${dim(label.padEnd(width))}  ${value}`),
    ...found.warnings.map((warning) => `${yellow('warning:')} ${warning}`),
    ...found.problems.map((problem) => `${red('problem:')} ${problem}`),
    ...(found.problems.length === 0 ? [green('ready to run')] : []),
  ];
  return `${lines.join('\n')}\n`;
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
