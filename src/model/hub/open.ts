import { castCheckpoint } from '../../checkpoint/cast.js';
import type { Checkpoint, TensorInfo } from '../../checkpoint/checkpoint.js';
import { derivedCheckpoint, placed } from '../../checkpoint/derived.js';
import type { WeightDtype } from '../../checkpoint/dtype.js';
import { listSome } from '../../checkpoint/json-file.js';
import { SdaError } from '../../errors.js';
import type { ModelConfig } from '../config.js';
import { expectedTensors, type TensorSpec } from '../families.js';
import { awqMatrix } from './awq.js';
import { compressedMatrix } from './compressed-tensors.js';
import { fp8Matrix } from './fp8.js';
import { gptqMatrix } from './gptq.js';
import type { HubMatrix } from './matrix.js';
import { nf4Matrix } from './nf4.js';
import { Parts } from './parts.js';
import { type HubSettings, hubSettings } from './settings.js';

/** A checkpoint with quantised matrices of a format that others make. */
export interface HubWeights {
  /** As it is stored */
  readonly base: Checkpoint;
  /** By the name that the matrix would have if it were plain, such as `lm_head.weight` */
  readonly matrices: ReadonlyMap<string, HubMatrix>;
  /** The same with plain matrices, quantised ones of this dtype, rounded once. */
  as(dtype: WeightDtype): Checkpoint;
}

/**
 * Finds the quantised matrices of a checkpoint. Of the weights themselves only what says which columns belong together
 * is read.
 *
 * @param file config.json, for sentences
 * @returns null where none is of a format that is read
 * @throws SdaError `bad-tensor` with all matrices whose tensors do not fit config.json or each other, `bad-config`,
 *   `unsupported`
 */
export async function openHub(
  config: ModelConfig,
  base: Checkpoint,
  file: string,
): Promise<HubWeights | null> {
  const { quantisation: method, quantisationConfig: raw } = config;
  const specs = expectedTensors(config);
  const modules = specs.filter((spec) => isPacked(spec, base));
  if (method === null || raw === null || modules.length === 0) return null;
  const settings = hubSettings(method, raw, file);
  if (!settings) return null;

  const matrices = new Map<string, HubMatrix>();
  const wrong: string[] = [];
  for (const { name, shape } of modules) {
    const parts = new Parts(base, moduleOf(name), shape[0]!, shape[1]!);
    try {
      matrices.set(name, await matrixOf(parts, settings));
    } catch (error) {
      if (!(error instanceof SdaError) || error.code !== 'bad-tensor') throw error;
      wrong.push(error.message.replace(/; [^;]*\.$/, ''));
    }
  }
  if (wrong.length > 0) {
    throw new SdaError(
      'bad-tensor',
      `${base.dir} has ${wrong.length} quantised ${wrong.length === 1 ? 'matrix' : 'matrices'} that are not what config.json says: ${listSome(wrong)}; download both from the same revision.`,
    );
  }
  const plain = plainCheckpoint(base, matrices, await needlessBiases(specs, base, matrices));
  const as = (dtype: WeightDtype) => castCheckpoint(plain, dtype, (name) => matrices.has(name));
  return { base, matrices, as };
}

function moduleOf(name: string): string {
  return name.replace(/\.weight$/, '');
}

/** Parts of which a matrix that is not plain has one at least. */
const PARTS = ['qweight', 'qzeros', 'weight_packed', 'weight_scale', 'weight_scale_inv'];

/** Whether a checkpoint has a matrix in another form than floats. */
function isPacked({ name, shape }: TensorSpec, { tensors }: Checkpoint): boolean {
  if (shape.length !== 2) return false;
  const module = moduleOf(name);
  const weight = tensors.get(name);
  if (weight) return /^(F8_E4M3|I8|U8)$/.test(weight.dtype);
  return PARTS.some((part) => tensors.has(`${module}.${part}`));
}

async function matrixOf(parts: Parts, settings: HubSettings): Promise<HubMatrix> {
  switch (settings.format) {
    case 'GPTQ':
      return gptqMatrix(parts, settings);
    case 'AWQ':
      return awqMatrix(parts, settings);
    case 'compressed-tensors':
      return compressedMatrix(parts, settings);
    case 'FP8': {
      const scale = parts.find('weight_scale') ? 'weight_scale' : 'weight_scale_inv';
      return fp8Matrix(parts, { scale, blocks: settings.blocks });
    }
    case 'bitsandbytes':
      return nf4Matrix(parts);
  }
}

/** Biases that writers of GPTQ add to layers that have none: they are zeros. */
async function needlessBiases(
  specs: readonly TensorSpec[],
  base: Checkpoint,
  matrices: ReadonlyMap<string, HubMatrix>,
): Promise<readonly string[]> {
  const known = new Set(specs.map(({ name }) => name));
  const needless: string[] = [];
  for (const name of matrices.keys()) {
    const bias = `${moduleOf(name)}.bias`;
    if (known.has(bias) || !base.tensors.has(bias)) continue;
    if ((await base.read(bias)).every((byte) => byte === 0)) needless.push(bias);
  }
  return needless;
}

function plainCheckpoint(
  base: Checkpoint,
  matrices: ReadonlyMap<string, HubMatrix>,
  needless: readonly string[],
): Checkpoint {
  const parts = new Set([...needless, ...[...matrices.values()].flatMap(({ parts }) => parts)]);
  const tensors = new Map([...base.tensors].filter(([name]) => !parts.has(name)));
  for (const [name, { parts, rows, columns }] of matrices) {
    const { file, offset } = base.tensors.get(parts[0]!)!;
    const byteLength = 4 * rows * columns;
    const info: TensorInfo = {
      name,
      dtype: 'F32',
      shape: [rows, columns],
      file,
      offset,
      byteLength,
    };
    tensors.set(name, info);
  }
  return derivedCheckpoint(base, {
    tensors,
    read: async (name, into) => {
      const matrix = matrices.get(name);
      if (!matrix) return base.read(name, into);
      const { buffer, byteOffset, byteLength } = await matrix.floats();
      return placed(new Uint8Array(buffer, byteOffset, byteLength), into);
    },
  });
}
