import { basename } from 'node:path';
import type { ModelConfig } from '../model/config.js';
import type { Ending } from '../model/endings.js';
import type { MemoryPlan } from '../model/memory-plan.js';
import { formatBytes } from '../setup/report.js';
import { alignColumns } from '../text/columns.js';
import { colours } from './colours.js';
import { counted } from './counted.js';
import type { TextReport } from './inspect-text.js';

/** Tensors of one dtype. */
export interface Stored {
  tensors: number;
  parameters: number;
  bytes: number;
}

/** What was found of a model. */
export interface Inspection {
  readonly dir: string;
  readonly config: ModelConfig | null;
  /** By dtype, of every tensor in the checkpoint */
  readonly dtypes: Readonly<Record<string, Stored>>;
  readonly files: readonly string[];
  /** Of one position in one stream */
  readonly kvBytesPerToken: number | null;
  readonly parameters: number;
  readonly plan: MemoryPlan | null;
  /** Queries at once that the plan is for */
  readonly batch: number;
  /** Tokens that end an answer, who names them, and their texts where there is a tokenizer */
  readonly endings: readonly (Ending & { readonly token: string | null })[];
  /** null where a config.json alone is described, or weights in another format */
  readonly text: TextReport | null;
  readonly warnings: readonly string[];
  readonly problems: readonly string[];
}

/** Of all dtypes. */
export function totalOf(dtypes: Inspection['dtypes'], key: keyof Stored): number {
  return Object.values(dtypes).reduce((sum, stored) => sum + stored[key], 0);
}

/** What was found, for programs. */
export function inspectionJson(found: Inspection) {
  const { dir, config, dtypes, files, kvBytesPerToken, text, plan, batch, parameters } = found;
  const { warnings, problems } = found;
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
      context_length: config.contextLength,
      rope: config.rope,
      rotary_dim: config.rotaryDim,
      sliding_window: config.slidingWindow,
      tied_head: config.tieWordEmbeddings,
      qkv_bias: config.attentionBias,
      qk_norm: config.qkNorm !== 'none',
      eos_token_ids: config.endings.map(({ id }) => id),
    },
    end_of_text: found.endings.map(({ id, from, token }) => ({ id, token, from })),
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
      batch,
      streams: plan.streams,
      weights: plan.weights,
      kv: plan.kv,
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
    warnings,
    problems,
  };
}

/** What was found, for people. */
export function inspectionText(found: Inspection): string {
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
    const full = formatBytes(both * config.contextLength);
    rows.push(['KV cache', `${formatBytes(both)} per token for both streams, ${full} when full`]);
  }
  if (plan) {
    rows.push(['memory', `${formatBytes(plan.total)} ${planned(plan, found.batch)}`]);
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
  if (config) {
    const ends = found.endings.map(({ id, token, from }) => {
      return `${[id, ...(token === null ? [] : [token])].join(' ')} (${from.join(', ')})`;
    });
    rows.push(['end of text', ends.join(', ') || 'none']);
  }
  const lines = [
    bold(found.dir),
    ...alignColumns(rows.map(([label, value]) => [`  ${dim(label)}`, value])),
    ...found.warnings.map((warning) => `${yellow('warning:')} ${warning}`),
    ...found.problems.map((problem) => `${red('problem:')} ${problem}`),
    ...(found.problems.length === 0 && text ? [green('ready to run')] : []),
  ];
  return `${lines.join('\n')}\n`;
}

/** Such as `for 4 queries at once, 8 streams of 4096 tokens`. */
function planned({ streams, context }: MemoryPlan, batch: number): string {
  const queries = counted(batch, 'query', 'queries at once');
  return `for ${queries}, ${counted(streams, 'stream')} of ${context} tokens`;
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
  const { numHeads, numKeyValueHeads, headDim, rotaryDim, rope } = config;
  const still = config.rotatedLayers.filter((rotates) => !rotates).length;
  const rotated = [
    ...(rotaryDim === headDim ? [] : [`, ${rotaryDim} dimensions of a head`]),
    ...(still === 0 ? [] : [`, none in ${counted(still, 'layer')}`]),
  ].join('');
  const traits = [
    config.tieWordEmbeddings ? 'head tied to the embedding' : 'own head',
    ...(config.attentionBias ? ['q/k/v bias'] : []),
    ...(config.qkNorm === 'none' ? [] : ['q/k norm']),
    ...(config.normsAfter ? ['norms after attention and MLP'] : []),
    ...(config.slidingWindow ? [`sliding window of ${config.slidingWindow}`] : []),
  ];
  return [
    [
      'architecture',
      `${config.modelType}, ${counted(config.numLayers, 'layer')}, ${traits.join(', ')}`,
    ],
    ['hidden size', `${config.hiddenSize}, ${config.intermediateSize} in the MLP`],
    ['attention', `${numHeads} heads of ${headDim}, ${numKeyValueHeads} for keys and values`],
    ['positions', `${config.contextLength}, RoPE ${rope.type}, theta ${rope.theta}${rotated}`],
    ['vocabulary', `${config.vocabSize} tokens`],
  ];
}

function count(parameters: number): string {
  if (parameters >= 1e9) return `${(parameters / 1e9).toFixed(2)} billion`;
  if (parameters >= 1e6) return `${(parameters / 1e6).toFixed(1)} million`;
  return parameters.toLocaleString('en');
}
