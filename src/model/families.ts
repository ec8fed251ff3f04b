import type { TensorInfo } from '../checkpoint/checkpoint.js';
import { isWeightDtype, WEIGHT_DTYPES } from '../checkpoint/dtype.js';
import { listSome } from '../checkpoint/json-file.js';
import { SdaError } from '../errors.js';
import { type QuantisedShape, quantisedBytes } from '../runtime/quantised.js';
import type { ModelConfig } from './config.js';
import { Problems } from './problems.js';
import { checkPlain, OWN_METHOD } from './quantised.js';
import { quantisedSpecs } from './quantised-specs.js';
import { stackedNames } from './stacks.js';

/** What a tensor is to the decoder. */
export type TensorRole = 'embedding' | 'norm' | 'linear' | 'bias' | 'head';

/** A tensor that the model needs: its name in the checkpoint and its shape there. */
export interface TensorSpec {
  readonly name: string;
  /** Row-major; a linear layer is [outputs, inputs]. */
  readonly shape: readonly number[];
  readonly role: TensorRole;
  /** How a matrix is quantised; absent where it is not. `shape` is then that of the weights, not of their bytes */
  readonly quantised?: QuantisedShape;
}

/** The names of a layer's norms: of what attention and the MLP take or, where norms come after, of what they add. */
export function normNames({ normsAfter }: ModelConfig) {
  return normsAfter
    ? (['post_attention_layernorm', 'post_feedforward_layernorm'] as const)
    : (['input_layernorm', 'post_attention_layernorm'] as const);
}

export const EMBEDDING = 'model.embed_tokens.weight';
export const HEAD = 'lm_head.weight';

/**
 * Every tensor of a model in the order in which data flows through it, the head last.
 * Embedding and head are both listed; {@link checkTensors} says which of them the file must hold.
 */
export function expectedTensors(config: ModelConfig): readonly TensorSpec[] {
  const { hiddenSize, vocabSize, numLayers } = config;
  const specs: TensorSpec[] = [
    { name: EMBEDDING, shape: [vocabSize, hiddenSize], role: 'embedding' },
  ];
  for (let layer = 0; layer < numLayers; layer++) specs.push(...layerTensors(config, layer));
  specs.push({ name: 'model.norm.weight', shape: [hiddenSize], role: 'norm' });
  specs.push({ name: HEAD, shape: [vocabSize, hiddenSize], role: 'head' });
  return specs;
}

function layerTensors(config: ModelConfig, layer: number): TensorSpec[] {
  const { hiddenSize, intermediateSize, headDim } = config;
  const queries = config.numHeads * headDim;
  const keys = config.numKeyValueHeads * headDim;
  const prefix = `model.layers.${layer}`;
  const norm = (name: string, size: number): TensorSpec => ({
    name: `${prefix}.${name}.weight`,
    shape: [size],
    role: 'norm',
  });
  const linear = (name: string, outputs: number, inputs: number, bias: boolean): TensorSpec[] => [
    { name: `${prefix}.${name}.weight`, shape: [outputs, inputs], role: 'linear' },
    ...(bias ? [{ name: `${prefix}.${name}.bias`, shape: [outputs], role: 'bias' } as const] : []),
  ];
  const { qkv, gateUp } = stackedNames(config);
  const rows = config.fusedProjections ? [queries + 2 * keys] : [queries, keys, keys];
  const width = config.fusedProjections ? 2 * intermediateSize : intermediateSize;
  const [first, second] = normNames(config);
  return [
    ...(config.normsAfter ? [] : [norm(first, hiddenSize)]),
    ...qkv.flatMap((name, i) =>
      linear(`self_attn.${name}`, rows[i]!, hiddenSize, config.attentionBias),
    ),
    ...qkNorms(config).map(([name, size]) => norm(`self_attn.${name}`, size)),
    ...linear('self_attn.o_proj', hiddenSize, queries, config.attentionOutputBias),
    norm(config.normsAfter ? first : second, hiddenSize),
    ...gateUp.flatMap((name) => linear(`mlp.${name}`, width, hiddenSize, config.mlpBias)),
    ...linear('mlp.down_proj', hiddenSize, intermediateSize, config.mlpBias),
    ...(config.normsAfter ? [norm(second, hiddenSize)] : []),
  ];
}

function qkNorms({ qkNorm, headDim, numHeads, numKeyValueHeads }: ModelConfig) {
  if (qkNorm === 'none') return [];
  const [q, k] = qkNorm === 'each-head' ? [1, 1] : [numHeads, numKeyValueHeads];
  return [
    ['q_norm', q * headDim],
    ['k_norm', k * headDim],
  ] as const;
}

/** The result of {@link checkTensors}. */
export interface CheckedTensors {
  /** The tensors to load: names that the checkpoint holds, shapes and dtypes checked. */
  readonly specs: readonly TensorSpec[];
  /** Name of the tensor that embeds tokens, [vocabSize, hiddenSize]. */
  readonly embedding: string;
  /** Name of the tensor that gives logits; the same as `embedding` where they are tied. */
  readonly head: string;
  /** What is odd but harmless, each a sentence for people. */
  readonly warnings: readonly string[];
}

/** Options of {@link checkTensors}. */
export interface CheckTensorsOptions {
  /** Use the embedding as head also where config.json says untied and `lm_head.weight` is missing. */
  readonly tieMissingHead?: boolean;
  /** Quantised weights are given as plain ones, so that config.json's word of them is true. */
  readonly dequantised?: boolean;
}

/**
 * Holds a checkpoint's tensors against what its config.json needs, before anything is read.
 *
 * Embedding and head, as transformers 5 does it: untied, both must be there; tied, either may be
 * missing, and where both are there each is used as it is.
 * @throws SdaError `bad-tensor` with every missing, misshapen or mistyped tensor in one message (the
 *   first few, and how many), `unsupported` for quantised weights.
 */
export function checkTensors(
  config: ModelConfig,
  tensors: ReadonlyMap<string, TensorInfo>,
  dir: string,
  options: CheckTensorsOptions = {},
): CheckedTensors {
  const own = config.quantisation === OWN_METHOD;
  const method = options.dequantised ? null : config.quantisation;
  const notes = own ? [] : checkPlain(tensors, dir, method);
  const tied = config.tieWordEmbeddings || options.tieMissingHead === true;
  const head = tied && !tensors.has(HEAD) ? EMBEDDING : HEAD;
  const embedding =
    config.tieWordEmbeddings && !tensors.has(EMBEDDING) && tensors.has(HEAD) ? HEAD : EMBEDDING;
  const plain = expectedTensors(config).filter(
    ({ role, name }) =>
      (role !== 'embedding' && role !== 'head') || name === embedding || name === head,
  );
  const specs = own ? storedQuantised(plain, tensors) : plain;

  const problems = new Problems();
  problems.attempt(() => checkSpecs(config, specs, tensors, dir));
  const warnings = problems.attempt(() => warningsOf(config, specs, tensors, dir));
  problems.throwIfAny();
  return { specs, embedding, head, warnings: [...notes, ...warnings!] };
}

function checkSpecs(
  config: ModelConfig,
  specs: readonly TensorSpec[],
  tensors: ReadonlyMap<string, TensorInfo>,
  dir: string,
): void {
  const wrong = specs.flatMap((spec) => problemOf(spec, tensors.get(spec.name), config));
  if (wrong.length === 0) return;
  throw new SdaError(
    'bad-tensor',
    `The weights in ${dir} do not fit its config.json in ${wrong.length} ${wrong.length === 1 ? 'tensor' : 'tensors'}: ${listSome(wrong)}; download both from the same revision.`,
  );
}

/** The tensors of a folder of `sda quantise`: as many bits as the bytes of a matrix have. */
function storedQuantised(
  specs: readonly TensorSpec[],
  tensors: ReadonlyMap<string, TensorInfo>,
): readonly TensorSpec[] {
  return quantisedSpecs(specs, ({ name, shape }, parts) => {
    const of4 = quantisedBytes({ bits: 4, rows: shape[0]!, columns: shape[1]!, parts });
    return tensors.get(name)?.byteLength === of4 ? 4 : 8;
  });
}

function problemOf(
  { name, shape, quantised }: TensorSpec,
  found: TensorInfo | undefined,
  config: ModelConfig,
): string[] {
  const expected = `[${shape.join(', ')}]`;
  if (!found) {
    const hint =
      name === HEAD && !config.tieWordEmbeddings
        ? ' and config.json does not say tie_word_embeddings (--tie-missing-head, tieMissingHead, takes the embedding for it)'
        : '';
    return [`${name} ${expected} is missing${hint}`];
  }
  if (quantised) return quantisedProblem(name, quantised, found);
  if (found.shape.length !== shape.length || found.shape.some((size, i) => size !== shape[i])) {
    return [
      `${name} is [${found.shape.join(', ')}] in ${found.file} where ${expected} is expected`,
    ];
  }
  if (!isWeightDtype(found.dtype)) {
    return [
      `${name} is ${found.dtype} in ${found.file} where ${WEIGHT_DTYPES.join(', ')} are supported`,
    ];
  }
  return [];
}

function quantisedProblem(name: string, shape: QuantisedShape, found: TensorInfo): string[] {
  const [of8, of4] = ([8, 4] as const).map((bits) => quantisedBytes({ ...shape, bits }));
  const size = quantisedBytes(shape);
  if (found.dtype === 'U8' && found.shape.length === 1 && found.shape[0] === size) return [];
  return [
    `${name} is ${found.dtype} [${found.shape.join(', ')}] in ${found.file} where U8 [${of8}] or [${of4}] is expected, [${shape.rows}, ${shape.columns}] in 8 or 4 bits`,
  ];
}

/** Buffers that old checkpoints carry and that follow from the config. */
const DERIVED = /(^|\.)rotary_emb\.inv_freq$/;

function warningsOf(
  config: ModelConfig,
  specs: readonly TensorSpec[],
  tensors: ReadonlyMap<string, TensorInfo>,
  dir: string,
): string[] {
  const known = new Set(specs.map(({ name }) => name));
  const extra = [...tensors.keys()].filter((name) => !known.has(name) && !DERIVED.test(name));
  const biases = extra.filter((name) => /\.(self_attn|mlp)\.\w+_proj\.bias$/.test(name));
  if (biases.length > 0) {
    throw new SdaError(
      'bad-tensor',
      `${dir} holds ${biases.length} biases that a ${config.modelType} model with its config.json does not use: ${listSome(biases, 3)}; set attention_bias or mlp_bias in config.json if the model was trained with them, else remove them.`,
    );
  }
  const warnings: string[] = [];
  if (extra.length > 0) {
    warnings.push(`${dir} holds ${extra.length} tensors that are ignored: ${listSome(extra)}.`);
  }
  if (config.tieWordEmbeddings && known.has(HEAD) && known.has(EMBEDDING)) {
    warnings.push(
      `config.json in ${dir} ties the head to the embedding but ${HEAD} is in the file as well; it is used as it is, as transformers does.`,
    );
  }
  if (!config.tieWordEmbeddings && !known.has(HEAD)) {
    warnings.push(
      `config.json in ${dir} does not tie the head to the embedding and ${HEAD} is missing; the embedding is used as asked.`,
    );
  }
  return warnings;
}
