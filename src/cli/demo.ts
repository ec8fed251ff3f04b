import type { Command } from 'commander';
import wrapAnsi from 'wrap-ansi';
import { asBase } from '../generate/as-base.js';
import type { GenerateRequest, SdaModel } from '../index.js';
import { DEFAULT_SETTINGS } from '../method/settings.js';
import { alignColumns } from '../text/columns.js';
import { type Answer, answer, means } from './answer.js';
import { colours } from './colours.js';
import { EXIT_INTERRUPTED } from './failure.js';
import { openModel, withInterrupt } from './load.js';
import { addModelOption, modelDir } from './options.js';
import { print } from './output.js';
import { columnsOf, LiveLine } from './terminal.js';

const QUERY = 'I failed my driving test today and I feel stupid. What should I do?';
const CORE = 'empathy';
const SEED = 1;
const MAX_TOKENS = 100;

/** Two columns need at least this many characters of terminal. */
const MIN_WIDTH = 90;
const MAX_WIDTH = 150;
/** Between the two columns */
const GUTTER = '  |  ';

/** `sda demo`: the same question with and without SDA. */
export function register(program: Command): void {
  const command = program
    .command('demo')
    .description('answer an everyday question as the base model and with SDA, side by side');
  addModelOption(command)
    .option('--query <text>', 'another question', QUERY)
    .addHelpText('after', '\nExample:\n  sda demo --query "How do I tell a friend bad news?"')
    .action((options: { model?: string; query: string }) =>
      withInterrupt((signal) => run(modelDir(options), options.query, signal)),
    );
}

async function run(dir: string, query: string, signal: AbortSignal): Promise<void> {
  const request: GenerateRequest = {
    query,
    core: CORE,
    seed: SEED,
    maxTokens: MAX_TOKENS,
    signal,
  };
  const model = await openModel(dir, { signal });
  try {
    const base = await counted(model, asBase(request), 'base model');
    const sda = signal.aborted ? null : await counted(model, request, 'SDA');
    if (!sda || sda.summary.finishReason === 'aborted') {
      process.exitCode = EXIT_INTERRUPTED;
      return;
    }
    print(await report(query, base, sda));
  } finally {
    model.dispose();
  }
}

/** Decodes with a count of the tokens on the terminal. */
async function counted(model: SdaModel, request: GenerateRequest, who: string): Promise<Answer> {
  const live = new LiveLine();
  try {
    return await answer(model, request, ({ step }) => live.show(`${who}: ${step + 1} tokens`));
  } finally {
    live.clear();
  }
}

async function report(query: string, base: Answer, sda: Answer): Promise<string> {
  const { bold, dim } = colours();
  const { INSTRUCTIONS } = await import('../text/instructions.js');
  const width = Math.min(columnsOf(process.stdout), MAX_WIDTH);
  const { js, temperature } = means(sda.steps);
  const a = DEFAULT_SETTINGS.amplification;
  const wrap = (text: string) => wrapAnsi(text, width, { hard: true });
  return `
${bold('Query')}
${wrap(query)}

${bold('Instruction')} ${dim(`(core "${CORE}"; seen by the second stream only)`)}
${wrap(INSTRUCTIONS[CORE])}

${answers(base.summary.text.trim(), sda.summary.text.trim(), width)}

${dim(
  wrap(
    `Both answers come from the same model and seed. SDA ran it with and without the instruction in one batch and steered each token by a = ${a} (a score of about 70). ` +
      `Over ${sda.steps.length} tokens the two distributions differed by a mean JS of ${js.toFixed(3)} of at most 0.693, which made the mean temperature ${temperature.toFixed(2)} instead of ${DEFAULT_SETTINGS.t0}. ` +
      `${sda.summary.timing.tokensPerSecond.toFixed(1)} tokens/s; the base model alone ${base.summary.timing.tokensPerSecond.toFixed(1)}.`,
  ),
)}

Try next:
  npx sda generate --query "..." --core truthful --compare
  npx sda generate --query "..." --instruction "Answer in one sentence." --score 30
  npx sda generate --help
`;
}

function answers(base: string, sda: string, width: number): string {
  const { bold } = colours();
  const headings = ['Base model', 'With SDA'] as const;
  const wrap = (text: string, columns: number) => wrapAnsi(text, columns, { hard: true });
  if (width < MIN_WIDTH) {
    return `${bold(headings[0])}\n${wrap(base, width)}\n\n${bold(headings[1])}\n${wrap(sda, width)}`;
  }
  const column = Math.floor((width - GUTTER.length) / 2);
  const [left, right] = [base, sda].map((text) => wrap(text, column).split('\n'));
  const rows = Array.from({ length: Math.max(left!.length, right!.length) }, (_, row) => [
    left![row] ?? '',
    GUTTER.trim(),
    right![row] ?? '',
  ]);
  const [heading, ...lines] = alignColumns([
    [bold(headings[0]), GUTTER.trim(), bold(headings[1])],
    ...rows,
  ]);
  return [heading, '-'.repeat(width), ...lines].join('\n');
}
