import { type Command, Option } from 'commander';
import type { AdapterSource } from '../checkpoint/adapter/merge.js';
import { DTYPE_NAMES, WEIGHT_DTYPES } from '../checkpoint/dtype.js';
import type { Imported } from '../import/import.js';
import { formatBytes } from '../setup/report.js';
import { addAdapterOption } from './adapter-option.js';
import { counted } from './counted.js';
import { bytes, nextCommand, weightsPlace, withProgress } from './folder-options.js';
import { withInterrupt } from './load.js';
import { DTYPES, type DtypeName } from './options.js';
import { print, printJson } from './output.js';

interface Options {
  readonly out: string;
  readonly dtype: DtypeName;
  readonly adapter?: AdapterSource[];
  readonly maxShardSize?: number;
  readonly json?: boolean;
}

/** `sda import`: an ordinary model folder of a model in another form. */
export function register(program: Command): void {
  const command = program
    .command('import')
    .argument('<source>', "a model's folder, or its file of weights")
    .description('make a model folder of PyTorch .bin, GGUF or Mistral weights, or merge adapters')
    .requiredOption('--out <dir>', 'the folder to make; it must not exist yet');
  addAdapterOption(command)
    .addOption(
      new Option(
        '--dtype <type>',
        'type of the weights; auto: as they are stored, bfloat16 where they are quantised',
      )
        .choices(DTYPES)
        .default('auto'),
    )
    .option('--max-shard-size <size>', 'largest file of weights (default: 5GB)', bytes)
    .option('--json', 'print one JSON object')
    .addHelpText(
      'after',
      `
Nothing that a file of weights names is executed. Stopped half way, it leaves nothing behind.

Examples:
  sda import path/to/vicuna-7b-v1.5 --out vicuna-7b
  sda import model.Q4_K_M.gguf --out model
  sda import path/to/model --adapter path/to/lora --adapter path/to/other=0.5 --out merged`,
    )
    .action((source: string, options: Options) =>
      withInterrupt((signal) => run(source, options, signal)),
    );
}

async function run(source: string, options: Options, signal: AbortSignal): Promise<void> {
  const { out, dtype, adapter: adapters = [], maxShardSize } = options;
  const { importModel } = await import('../import/import.js');
  const product = adapters.length > 0 ? await matrixProduct() : undefined;
  const made = await withProgress('importing', (onBytes) =>
    importModel(source, out, {
      dtype: WEIGHT_DTYPES.find((stored) => DTYPE_NAMES[stored] === dtype),
      adapters,
      maxShardBytes: maxShardSize,
      product,
      signal,
      onBytes,
    }),
  );
  if (options.json) {
    const { config, hasTokenizer, ...rest } = made;
    printJson({ dir: out, model_type: config.modelType, tokenizer: hasTokenizer, ...rest });
    return;
  }
  print(`${summary(out, made)}\n`);
}

/** TensorFlow's, which takes a tenth of the time. */
async function matrixProduct() {
  const { startTensorFlow } = await import('../index.js');
  const { matrixProduct } = await import('../runtime/matrix-product.js');
  await startTensorFlow();
  return matrixProduct;
}

function summary(out: string, made: Imported): string {
  const { config, bytes, dtypes } = made;
  const layers = counted(config.numLayers, 'layer');
  return `made ${out}: ${config.modelType}, ${layers}, ${formatBytes(bytes)} of ${dtypes.join(' and ')} in ${weightsPlace(made)}
next: ${nextCommand(out, made)}`;
}
