import type { TensorInfo } from '../checkpoint/checkpoint.js';
import { WEIGHT_DTYPES } from '../checkpoint/dtype.js';
import { SdaError } from '../errors.js';

/** `quant_method` of what `sda quantise` writes. */
export const OWN_METHOD = 'sda';

/** Tensors that only quantised weights have, by the format they belong to; the first that fits names it. */
const FORMATS: readonly (readonly [RegExp, string])[] = [
  [/\.(q_perm|q_invperm|q_groups|q_scale|q_scale_max)$/, 'EXL2'],
  [/\.(trellis|suh|svh)$/, 'EXL3'],
  [/\.W_q$/, 'HQQ'],
  [/\.weight_(packed|zero_point|g_idx)$/, 'compressed-tensors'],
  [/\.weight_scale_inv$/, 'FP8 in blocks'],
  [/\.(nested_)?(absmax|quant_map)$|\.quant_state\.\S+$/, 'bitsandbytes in 4 bits'],
  [/\.(SCB|weight_format)$/, 'bitsandbytes in 8 bits'],
  [/\.g_idx$/, 'GPTQ'],
  [/\.codebooks$/, 'AQLM'],
  [/\.Qidxs$/, 'QuIP#'],
  [/\.weight\._(data|scale|shift)$/, 'Quanto'],
];
/** Those that several formats have. */
const SHARED = /\.(qweight|qzeros|q_weight|weight_scale)$/;
/** Those that are read where config.json describes them. */
const READ = /^(GPTQ|AWQ|compressed-tensors|FP8.*|bitsandbytes in 4 bits)$/;
const UNTOLD =
  'put the quantization_config that describes them into config.json (older folders have it as quantize_config.json or quant_config.json), or ';
const PACKED_DTYPE = /^(BOOL$|I|U|F8_|F6_|F4$)/;

/** Whether config.json's `quantization_config` says that weights are quantised, and how; null where it does not. */
export function quantisationMethod(
  config: Readonly<Record<string, unknown>> | null | undefined,
): string | null {
  if (config == null) return null;
  const { quant_method: method, load_in_4bit: in4, load_in_8bit: in8 } = config;
  if (typeof method !== 'string') return in4 === true || in8 === true ? 'bitsandbytes' : null;
  // transformers leaves weights alone where both are off
  const off = method.startsWith('bitsandbytes') && in4 === false && in8 === false;
  return off ? null : method;
}

/** @throws SdaError `unsupported` for a config.json of quantised weights whose tensors are not there to see. */
export function refuseQuantisedConfig(method: string | null, file: string): void {
  if (method === null || method === OWN_METHOD) return;
  throw new SdaError(
    'unsupported',
    `${file} says that the weights are quantised by ${method} where ${WEIGHT_DTYPES.join(', ')} are supported; take the unquantised checkpoint.`,
  );
}

/**
 * Holds a checkpoint's tensors against the form of plain weights; what config.json says of them alone decides nothing.
 *
 * @param method what config.json says, see {@link quantisationMethod}
 * @returns a sentence for people where config.json says quantised and the tensors are not
 * @throws SdaError `unsupported` that names the format, as far as it can be told, and a tensor
 */
export function checkPlain(
  tensors: ReadonlyMap<string, TensorInfo>,
  dir: string,
  method: string | null,
): readonly string[] {
  for (const [name, { dtype, file }] of tensors) {
    if (!isQuantised(name, dtype)) continue;
    const format = formatOf(tensors, method);
    const told = method !== null || !READ.test(format ?? '');
    throw new SdaError(
      'unsupported',
      `${dir} holds weights that are quantised${format === null ? '' : ` (${format})`}, such as ${name}, ${dtype}, in ${file}, where ${WEIGHT_DTYPES.join(', ')} are supported; ${told ? '' : UNTOLD}take the unquantised checkpoint.`,
    );
  }
  if (method === null) return [];
  return [
    `config.json in ${dir} says that the weights are quantised by ${method}, but they are not; they are used as they are.`,
  ];
}

function isQuantised(name: string, dtype: string): boolean {
  if (name.endsWith('.weight') && PACKED_DTYPE.test(dtype)) return true;
  return SHARED.test(name) || FORMATS.some(([pattern]) => pattern.test(name));
}

function formatOf(tensors: ReadonlyMap<string, TensorInfo>, method: string | null): string | null {
  const names = [...tensors.keys()];
  const known = FORMATS.find(([pattern]) => names.some((name) => pattern.test(name)));
  if (known) return known[1];
  const packed = names.find((name) => name.endsWith('.qweight'));
  if (packed !== undefined) return columnsPacked(tensors, packed) ? 'AWQ' : 'GPTQ';
  const of = (pattern: RegExp) =>
    names.some((name) => name.endsWith('.weight') && pattern.test(tensors.get(name)!.dtype));
  if (of(/^F8_/)) return 'FP8';
  if (of(/^U32$/) && names.some((name) => name.endsWith('.scales'))) return 'MLX';
  return method;
}

/** AWQ packs the outputs of a layer into words and GPTQ its inputs; both have a column of scales for each output. */
function columnsPacked(tensors: ReadonlyMap<string, TensorInfo>, name: string): boolean {
  const scales = tensors.get(name.replace(/qweight$/, 'scales'))?.shape[1];
  const columns = tensors.get(name)!.shape[1];
  return scales !== undefined && columns !== undefined && columns < scales;
}
