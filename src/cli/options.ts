import { type Command, InvalidArgumentError, Option } from 'commander';
import type { AdapterSource } from '../checkpoint/adapter/merge.js';
import { KV_DTYPES, type KvDtype } from '../model/kv-dtype.js';
import { defaultModelDir } from '../runtime/paths.js';
import { addAdapterOption } from './adapter-option.js';

/** The dtypes that weights can be stored in. */
export const DTYPES = ['auto', 'bfloat16', 'float16', 'float32'] as const;
export type DtypeName = (typeof DTYPES)[number];
/** The dtypes that weights can have on the device. */
export const LOAD_DTYPES = [...DTYPES, 'int8', 'int4'] as const;
export type LoadDtypeName = (typeof LOAD_DTYPES)[number];

export interface ModelOptions {
  readonly model?: string;
  readonly dtype: LoadDtypeName;
  readonly kv: KvDtype;
  readonly context?: number;
  readonly tieMissingHead?: boolean;
  readonly memoryCheck: boolean;
  readonly adapter?: AdapterSource[];
}

/** Adds `--model`; see `modelDir` for its default. */
export function addModelOption(command: Command): Command {
  return command.option(
    '--model <dir>',
    'Hugging Face folder with config.json and safetensors (default: the model of "npm run weights")',
  );
}

/** Adds the options of a command that loads the model; see `loadOptions`. */
export function addLoadOptions(command: Command): Command {
  return addAdapterOption(command)
    .addOption(
      new Option(
        '--dtype <type>',
        'type of the weights on the device; auto: as they are stored; int8, int4: quantised',
      )
        .choices(LOAD_DTYPES)
        .default('auto'),
    )
    .addOption(kvOption())
    .option(
      '--context <n>',
      "tokens that prompt and answer may have together (default: the model's own maximum)",
      wholeNumber(2),
    )
    .option('--tie-missing-head', 'take the embedding where an untied lm_head is missing')
    .option('--no-memory-check', 'load also what seems not to fit into memory');
}

/** `--kv` */
export function kvOption(): Option {
  return new Option('--kv <type>', 'type of the keys and values; bfloat16: half the memory')
    .choices(KV_DTYPES)
    .default('float32');
}

/** The options of `addLoadOptions` as those of `loadModel`. */
export function loadOptions({
  dtype,
  kv,
  context,
  tieMissingHead,
  memoryCheck,
  adapter: adapters,
}: ModelOptions) {
  return { dtype, kv, maxContext: context, tieMissingHead, memoryCheck, adapters };
}

export function modelDir({ model }: { readonly model?: string }): string {
  return model ?? defaultModelDir();
}

/** Parses a finite decimal number that `holds` accepts. */
export function number(expected: string, holds: (value: number) => boolean = () => true) {
  return (text: string): number => {
    const value = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(text) ? Number(text) : Number.NaN;
    if (Number.isFinite(value) && holds(value)) return value;
    throw new InvalidArgumentError(`Expected ${expected}.`);
  };
}

/** Parses a whole number of at least `least`. */
export function wholeNumber(least: number) {
  return number(
    `a whole number of at least ${least}`,
    (value) => Number.isSafeInteger(value) && value >= least,
  );
}

/** Parses different ones of `all`, such as `bfloat16,int8`. */
export function listOf<T extends string>(all: readonly T[], example: string) {
  return (text: string): T[] => {
    const names = text.split(',').map((name) => name.trim());
    const known = names.filter((name): name is T => all.some((each) => each === name));
    if (known.length === names.length && new Set(names).size === names.length) return known;
    throw new InvalidArgumentError(
      `Expected different ones of ${all.join(', ')}, such as ${example}.`,
    );
  };
}

/** Parses `"1 2 3"` or `"1,2,3"`. */
export function tokenIds(text: string): number[] {
  const parts = text.split(/[\s,]+/).filter((part) => part !== '');
  if (parts.length === 0 || !parts.every((part) => /^\d{1,15}$/.test(part))) {
    throw new InvalidArgumentError('Expected token ids such as "1 2 3".');
  }
  return parts.map(Number);
}

/** Parses `2026-11-25` as noon of that day, local time. */
export function day(text: string): Date {
  const [, year, month, date] = /^(\d{4})-(\d\d)-(\d\d)$/.exec(text) ?? [];
  const parsed = new Date(Number(year), Number(month) - 1, Number(date), 12);
  if (parsed.getMonth() === Number(month) - 1 && parsed.getDate() === Number(date)) return parsed;
  throw new InvalidArgumentError('Expected a day such as 2026-11-25.');
}

/** Adds `name=value`, with a value in JSON, to the variables that were given before. */
export function templateVariable(
  text: string,
  earlier: Readonly<Record<string, unknown>> = {},
): Record<string, unknown> {
  const [, name, value] = /^([A-Za-z_]\w*)=(.*)$/s.exec(text) ?? [];
  if (name !== undefined && value !== undefined) {
    try {
      return { ...earlier, [name]: JSON.parse(value) as unknown };
    } catch {}
  }
  throw new InvalidArgumentError(
    'Expected a name and a JSON value, such as enable_thinking=false or \'name="text"\'.',
  );
}

/** Collects an option that may be given several times. */
export function collect(value: string, earlier: readonly string[] = []): string[] {
  return [...earlier, value];
}
