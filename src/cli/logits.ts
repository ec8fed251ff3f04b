import { type Command, Option } from 'commander';
import { SdaError } from '../errors.js';
import { alignColumns } from '../text/columns.js';
import { openModel, withInterrupt } from './load.js';
import {
  addLoadOptions,
  addModelOption,
  loadOptions,
  type ModelOptions,
  modelDir,
  tokenIds,
  wholeNumber,
} from './options.js';
import { print, printJson } from './output.js';

interface Options extends ModelOptions {
  readonly ids?: number[];
  readonly text?: string;
  readonly top?: number;
  readonly json?: boolean;
}

/** Rows of the table where --top does not say. */
const TABLE_ROWS = 10;

/** `sda logits`: what the model says of the next token, for comparison with other implementations. */
export function register(program: Command): void {
  const command = program
    .command('logits')
    .description('print the logits of the token that would come next, highest first');
  addLoadOptions(
    addModelOption(command)
      .addOption(
        new Option('--ids <ids>', 'token ids, such as "1 2 3"; needs no tokenizer')
          .argParser(tokenIds)
          .conflicts('text'),
      )
      .option('--text <text>', 'plain text, with the special tokens that the tokenizer adds')
      .option(
        '--top <n>',
        `how many (default: all with --json, else ${TABLE_ROWS})`,
        wholeNumber(1),
      ),
  )
    .option('--json', 'print one JSON object')
    .addHelpText(
      'after',
      `
Examples:
  sda logits --text "The capital of France is" --top 5
  sda logits --model path/to/model --ids "1 2 3" --dtype float32 --json`,
    )
    .action((options: Options) => withInterrupt((signal) => run(options, signal)));
}

async function run(options: Options, signal: AbortSignal): Promise<void> {
  const { ids, text } = options;
  if (ids === undefined && text === undefined) {
    throw new SdaError('usage', 'There is no input: give --ids "1 2 3" or --text TEXT.');
  }
  const model = await openModel(modelDir(options), { ...loadOptions(options), signal });
  try {
    const tokenizer = text === undefined ? null : await model.tokenizer();
    const values = await model.logits(ids ?? tokenizer!.encode(text!));
    const bad = values.findIndex((logit) => Number.isNaN(logit));
    if (bad >= 0) {
      throw new SdaError(
        'bad-logits',
        `The logit of token ${bad} is NaN: the weights in ${model.dir} are damaged or the model overflows; check the file, or load it with --dtype float32.`,
      );
    }
    const order = Array.from(values, (logit, id) => ({ id, logit }));
    order.sort((a, b) => b.logit - a.logit || a.id - b.id);
    if (options.json) {
      printJson({ vocab_size: values.length, logits: order.slice(0, options.top) });
      return;
    }
    const rows = order
      .slice(0, options.top ?? TABLE_ROWS)
      .map(({ id, logit }) => [
        `${id}`,
        logit.toFixed(4),
        ...(tokenizer ? [JSON.stringify(tokenizer.decode([id]))] : []),
      ]);
    const header = ['id', 'logit', ...(tokenizer ? ['token'] : [])];
    print(`${alignColumns([header, ...rows], [0, 1]).join('\n')}\n`);
  } finally {
    model.dispose();
  }
}
