import { type Command, Option } from 'commander';
import type { AdapterSource } from '../checkpoint/adapter/merge.js';
import type { QuantisedDtype } from '../model/quantised-checkpoint.js';
import { formatBytes } from '../setup/report.js';
import { addAdapterOption } from './adapter-option.js';
import { bytes, nextCommand, weightsPlace, withProgress } from './folder-options.js';
import { withInterrupt } from './load.js';
import { print, printJson } from './output.js';

interface Options {
  readonly out: string;
  readonly dtype: QuantisedDtype;
  readonly adapter?: AdapterSource[];
  readonly maxShardSize?: number;
  readonly json?: boolean;
}

/** `sda quantise`: a model folder with weights in 8 or 4 bits. */
export function register(program: Command): void {
  const command = program
    .command('quantise')
    .argument('<source>', "a model's folder, or its file of weights")
    .description('make a model folder with weights in 8 or 4 bits')
    .requiredOption('--out <dir>', 'the folder to make; it must not exist yet');
  addAdapterOption(command)
    .addOption(
      new Option('--dtype <type>', 'of the linear layers; embedding and head have 8 bits')
        .choices(['int8', 'int4'] satisfies QuantisedDtype[])
        .default('int8'),
    )
    .option('--max-shard-size <size>', 'largest file of weights (default: 5GB)', bytes)
    .option('--json', 'print one JSON object')
    .addHelpText(
      'after',
      `
The weights are those that --dtype int8 or int4 makes whenever a model is loaded; this saves the time.

Examples:
  sda quantise path/to/model --out model-int8
  sda quantise path/to/model --dtype int4 --adapter path/to/lora --out model-int4`,
    )
    .action((source: string, options: Options) =>
      withInterrupt((signal) => run(source, options, signal)),
    );
}

async function run(source: string, options: Options, signal: AbortSignal): Promise<void> {
  const { out, dtype, adapter: adapters = [], maxShardSize } = options;
  const { quantiseModel } = await import('../quantise/quantise.js');
  const made = await withProgress('quantising', (onBytes) =>
    quantiseModel(source, out, dtype, { adapters, maxShardBytes: maxShardSize, signal, onBytes }),
  );
  if (options.json) {
    const { config, hasTokenizer, ...rest } = made;
    printJson({ dir: out, model_type: config.modelType, dtype, tokenizer: hasTokenizer, ...rest });
    return;
  }
  print(`made ${out}: ${dtype}, ${formatBytes(made.bytes)} in ${weightsPlace(made)}
next: ${nextCommand(out, made)}
`);
}
