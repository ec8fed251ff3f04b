import { z } from 'zod';
import { describeIssues } from '../../checkpoint/json-file.js';
import { SdaError } from '../../errors.js';
import type { QuantisedBits } from '../../runtime/quantised.js';

/** How the matrices of a checkpoint may be quantised; those of different modules may differ. */
export interface Variant {
  readonly bits: QuantisedBits;
  /** Columns of a group; null: all of a row */
  readonly groupSize: number | null;
  /** Zero is half of the range; null where it is not said */
  readonly symmetric: boolean | null;
}

/** What config.json's `quantization_config` says of one of the formats that are read. */
export type HubSettings =
  | { readonly format: 'GPTQ'; readonly stored: 'v1' | 'v2'; readonly variants: Variant[] }
  | { readonly format: 'AWQ'; readonly variants: Variant[] }
  | {
      readonly format: 'compressed-tensors';
      readonly variants: Variant[];
      readonly blocks: readonly (readonly [number, number])[];
    }
  | { readonly format: 'FP8'; readonly blocks: readonly (readonly [number, number])[] }
  | { readonly format: 'bitsandbytes' };

type Raw = Readonly<Record<string, unknown>>;

const natural = z.number().int().positive();
const groupSize = z
  .number()
  .int()
  .transform((size) => (size > 0 ? size : null))
  .nullish();
const variantSchema = z.object({
  bits: natural,
  group_size: groupSize,
  sym: z.boolean().nullish(),
});
const gptqSchema = z.object({
  ...variantSchema.shape,
  checkpoint_format: z.string().nullish(),
  is_marlin_format: z.boolean().nullish(),
  pack_dtype: z.string().nullish(),
  packing_format: z.string().nullish(),
  backend: z.string().nullish(),
  dynamic: z.record(z.string(), z.unknown()).nullish(),
  extra_config: z.record(z.string(), z.unknown()).nullish(),
});
const awqSchema = z.object({
  bits: natural.nullish(),
  w_bit: natural.nullish(),
  group_size: groupSize,
  q_group_size: groupSize,
  version: z.string().nullish(),
});
const block = z.tuple([natural, natural]);
const weightsSchema = z.object({
  num_bits: natural,
  type: z.string().nullish(),
  strategy: z.string().nullish(),
  group_size: groupSize,
  symmetric: z.boolean().nullish(),
  block_structure: z.unknown().optional(),
});
const compressedSchema = z.object({
  format: z.string().nullish(),
  config_groups: z.record(
    z.string(),
    z.object({ weights: weightsSchema.nullish(), format: z.string().nullish() }),
  ),
  sparsity_config: z.object({ format: z.string().nullish() }).nullish(),
});
const fp8Schema = z.object({ fmt: z.string().nullish(), weight_block_size: block.nullish() });
const bitsandbytesSchema = z.object({
  load_in_8bit: z.boolean().nullish(),
  bnb_4bit_quant_type: z.string().nullish(),
});

/**
 * @param method its `quant_method`
 * @returns null for a method that is not read
 * @throws SdaError `bad-config` for fields that make no sense, `unsupported` naming a variant that is not read
 */
export function hubSettings(method: string, raw: Raw, file: string): HubSettings | null {
  switch (method) {
    case 'gptq':
      return gptq(parsed(gptqSchema, raw, file), raw, file);
    case 'auto-round':
    case 'intel/auto-round':
      return autoRound(parsed(gptqSchema, raw, file), raw, file);
    case 'awq':
      return awq(parsed(awqSchema, raw, file), file);
    case 'compressed-tensors':
      return compressed(parsed(compressedSchema, raw, file), file);
    case 'fp8':
    case 'fbgemm_fp8': {
      const { fmt, weight_block_size: size } = parsed(fp8Schema, raw, file);
      if (fmt != null && fmt !== 'e4m3') throw refused(file, `FP8 of the type ${fmt}`, 'e4m3');
      return { format: 'FP8', blocks: size ? [size] : [] };
    }
    case 'bitsandbytes':
    case 'bitsandbytes_4bit':
    case 'bitsandbytes_8bit': {
      const of = parsed(bitsandbytesSchema, raw, file);
      const type = of.load_in_8bit ? '8 bits' : (of.bnb_4bit_quant_type ?? 'fp4');
      if (type !== 'nf4') throw refused(file, `bitsandbytes with ${type}`, 'nf4');
      return { format: 'bitsandbytes' };
    }
    default:
      return null;
  }
}

function gptq(of: z.infer<typeof gptqSchema>, raw: Raw, file: string): HubSettings {
  const stored = of.is_marlin_format ? 'marlin' : (of.checkpoint_format ?? 'gptq');
  if (stored !== 'gptq' && stored !== 'gptq_v2') {
    throw refused(file, `GPTQ in the layout ${stored}`, 'gptq or gptq_v2');
  }
  if (of.pack_dtype != null && of.pack_dtype !== 'int32') {
    throw refused(file, `GPTQ packed in ${of.pack_dtype}`, 'int32');
  }
  return {
    format: 'GPTQ',
    stored: stored === 'gptq' ? 'v1' : 'v2',
    variants: variantsOf(of, raw, file),
  };
}

/** What auto-round writes has the layout of GPTQ or of AWQ, where it says so. */
function autoRound(of: z.infer<typeof gptqSchema>, raw: Raw, file: string): HubSettings {
  const packing = of.packing_format ?? of.backend ?? 'auto_round';
  const variants = variantsOf(of, raw, file);
  if (/gptq/.test(packing)) return { format: 'GPTQ', stored: 'v1', variants };
  if (/awq/.test(packing)) return { format: 'AWQ', variants };
  throw refused(file, `auto-round in the packing ${packing}`, 'auto_gptq or auto_awq');
}

/** The variant that most modules have, and those of single ones. */
function variantsOf(of: z.infer<typeof gptqSchema>, raw: Raw, file: string): Variant[] {
  const single = [of.dynamic, of.extra_config].flatMap((rules) =>
    Object.entries(rules ?? {})
      .filter(([name, rule]) => !name.startsWith('-:') && typeof rule === 'object' && rule !== null)
      .map(([, rule]) => parsed(variantSchema, { ...raw, ...(rule as Raw) }, file)),
  );
  const variants = [of, ...single].flatMap((each) => {
    if (each !== of && each.bits >= 16) return []; // not quantised
    return [variant(each.bits, each.group_size, each.sym, 'GPTQ', file)];
  });
  return variants;
}

function variant(
  bits: number,
  size: number | null | undefined,
  symmetric: boolean | null | undefined,
  format: string,
  file: string,
): Variant {
  if (bits !== 4 && bits !== 8) throw refused(file, `${format} in ${bits} bits`, '4 or 8 bits');
  return { bits, groupSize: size ?? null, symmetric: symmetric ?? null };
}

function awq(of: z.infer<typeof awqSchema>, file: string): HubSettings {
  const version = (of.version ?? 'gemm').toLowerCase();
  if (version !== 'gemm') throw refused(file, `AWQ in the layout ${version}`, 'gemm');
  const bits = of.bits ?? of.w_bit ?? 4;
  if (bits !== 4) throw refused(file, `AWQ in ${bits} bits`, '4 bits');
  const { group_size: size = of.q_group_size } = of;
  return { format: 'AWQ', variants: [{ bits, groupSize: size ?? null, symmetric: null }] };
}

const COMPRESSED =
  /^(pack-quantized|int-quantized|float-quantized|naive-quantized|mixed-precision|dense)$/;

function compressed(of: z.infer<typeof compressedSchema>, file: string): HubSettings {
  const groups = Object.values(of.config_groups);
  const formats = [of.format, ...groups.map(({ format }) => format), of.sparsity_config?.format];
  const other = formats.find((format) => format != null && !COMPRESSED.test(format));
  if (other != null) {
    throw refused(
      file,
      `compressed-tensors in the format ${other}`,
      'pack-quantized, int-quantized or float-quantized',
    );
  }
  const weights = groups.flatMap((group) => group.weights ?? []);
  const integers = weights.filter(({ type }) => type !== 'float');
  const floats = weights.filter(({ type }) => type === 'float');
  const narrow = floats.find(({ num_bits: bits }) => bits !== 8);
  if (narrow) throw refused(file, `floats of ${narrow.num_bits} bits`, '8 bits');
  return {
    format: 'compressed-tensors',
    variants: integers.map((each) => {
      const size = each.strategy === 'group' ? each.group_size : null;
      return variant(each.num_bits, size, each.symmetric ?? true, 'compressed-tensors', file);
    }),
    blocks: floats.flatMap(({ block_structure: size }) => blockOf(size)),
  };
}

/** `[128, 128]`, which was once written as "128x128". */
function blockOf(value: unknown): readonly (readonly [number, number])[] {
  const sizes = typeof value === 'string' ? value.split('x').map(Number) : value;
  const found = block.safeParse(sizes);
  return found.success ? [found.data] : [];
}

function parsed<T>(schema: z.ZodType<T>, raw: Raw, file: string): T {
  const found = schema.safeParse(raw);
  if (found.success) return found.data;
  throw new SdaError(
    'bad-config',
    `${file} has a quantization_config that is not valid (${describeIssues(found.error)}); correct it or download it again.`,
  );
}

function refused(file: string, what: string, read: string): SdaError {
  return new SdaError(
    'unsupported',
    `${file} says that the weights are quantised by ${what} where ${read} can be read; take another quantisation of the model, or the unquantised checkpoint.`,
  );
}
