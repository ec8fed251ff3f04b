import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Command } from 'commander';
import type { GenerateRequest, GenerateStep, SdaModel } from '../index.js';
import { type Answer, answer, answerJson, asBase, settingsJson, summaryLine } from './answer.js';
import { colours } from './colours.js';
import { EXIT_INTERRUPTED } from './failure.js';
import {
  addGenerateOptions,
  amplificationSource,
  type GenerateOptions,
  toRequest,
} from './generate-options.js';
import { openModel, requireModelDir, withInterrupt } from './load.js';
import { loadOptions, modelDir } from './options.js';
import { note, print, printJson } from './output.js';
import { LiveLine } from './terminal.js';
import { Trace } from './trace.js';

/** `sda generate`: one answer, decoded with SDA. */
export function register(program: Command): void {
  const command = program
    .command('generate')
    .description('answer a query with SDA; the text comes on stdout, a summary on stderr');
  addGenerateOptions(command)
    .addHelpText(
      'after',
      `
Examples:
  sda generate --query "How do I apologise to a colleague?" --core empathy
  sda generate --query "Is it safe to mix bleach and vinegar?" --core harmlessness --compare
  sda generate --query "Tell me about Mars." --instruction "Answer in one sentence." --score 30
  sda generate --model path/to/model --base-ids "1 5 9" --instructed-ids "1 5 7 9" --greedy --json`,
    )
    .action((options: GenerateOptions) => withInterrupt((signal) => run(options, signal)));
}

async function run(options: GenerateOptions, signal: AbortSignal): Promise<void> {
  const request = { ...toRequest(options), signal };
  const trace = options.trace === undefined ? null : new Trace(options.trace);
  try {
    const dir = modelDir(options);
    const { chatTemplate } = options;
    requireModelDir(dir);
    if (!request.prompts) await tryTemplate(dir, options);
    const model = await openModel(dir, { ...loadOptions(options), chatTemplate, signal });
    try {
      await (options.json ? runJson : runText)(model, request, options, trace);
    } finally {
      model.dispose();
    }
  } finally {
    trace?.close();
  }
}

/** Throws before the model is loaded what the chat template would after it. */
async function tryTemplate(dir: string, options: GenerateOptions): Promise<void> {
  if (!existsSync(join(dir, 'tokenizer.json'))) return; // the greater fault, which comes later
  const { chatTemplate, system, placement, foldSystem, templateVar: variables } = options;
  const { loadChatTemplate, noChatTemplate } = await import('../text/chat-template.js');
  const template = await loadChatTemplate(dir, chatTemplate);
  if (!template) throw noChatTemplate();
  const systemTurn = !foldSystem && (system || placement === 'system');
  const user = { role: 'user', content: 'Hello' } as const;
  template.render(systemTurn ? [{ role: 'system', content: 'Hello' }, user] : [user], {
    variables,
  });
}

async function runText(
  model: SdaModel,
  request: GenerateRequest,
  options: GenerateOptions,
  trace: Trace | null,
): Promise<void> {
  const { bold } = colours();
  const show = await printer(model, request, options);
  const template = await givenTemplate(model, options);
  if (template) note(`prompts made by ${template}`);
  if (options.compare) {
    print(`${bold('Base model')}\n\n`);
    const base = await answer(model, asBase(request), show.step);
    show.end(base);
    print('\n\n');
    if (base.summary.finishReason === 'aborted') {
      note(summaryLine(base, ''));
      process.exitCode = EXIT_INTERRUPTED;
      return;
    }
    print(`${bold(heading(options))}\n\n`);
  }
  const result = await traced(model, request, trace, show.step);
  show.end(result);
  print('\n');
  note(summaryLine(result, amplificationSource(options)));
  if (result.summary.finishReason === 'aborted') process.exitCode = EXIT_INTERRUPTED;
}

async function runJson(
  model: SdaModel,
  request: GenerateRequest,
  options: GenerateOptions,
  trace: Trace | null,
): Promise<void> {
  const base = options.compare ? await answer(model, asBase(request)) : null;
  const result = await traced(model, request, trace, () => {});
  const template = request.prompts ? null : await model.chatTemplate();
  printJson({
    ...answerJson(result),
    chat_template: template?.origin ?? null,
    ...(base && { base: answerJson(base) }),
  });
  if (result.summary.finishReason === 'aborted') process.exitCode = EXIT_INTERRUPTED;
}

async function traced(
  model: SdaModel,
  request: GenerateRequest,
  trace: Trace | null,
  show: (step: GenerateStep) => void,
) {
  if (trace) {
    const { resolveSettings, startTensorFlow } = await import('../index.js');
    const { templateSettings } = await import('../generate/request.js');
    const settings = resolveSettings(request.settings);
    const { seed = 0, maxTokens = 0, prompts, date = new Date() } = request;
    const dated = !prompts && (await model.chatTemplate())?.dated === true;
    const template = templateSettings(request, dated, date);
    const json = settingsJson({ ...settings, seed, maxTokens, ...template });
    trace.header(model.dir, json, await startTensorFlow());
  }
  return answer(model, request, (step) => {
    trace?.step(step);
    show(step);
  });
}

interface Printer {
  step(step: GenerateStep): void;
  /** What is left to print once the answer is complete. */
  end(answer: Answer): void;
}

/** Prints the text of each step; the ids where prompts are ids and there is no tokenizer for text. */
async function printer(
  model: SdaModel,
  request: GenerateRequest,
  { thinking }: GenerateOptions,
): Promise<Printer> {
  const hasText = !request.prompts || (await model.tokenizer().then(Boolean, () => false));
  if (!hasText) {
    return { step: ({ step, id }) => print(step === 0 ? `${id}` : ` ${id}`), end: () => {} };
  }
  if (thinking === 'show') {
    const { dim } = colours();
    let shown = 0;
    return {
      step: ({ parts }) => {
        for (const { part, text } of parts) {
          print(part === 'thinking' ? dim(text) : text);
          shown += text.length;
        }
      },
      // an answer that was stopped may end in what could have been a tag
      end: ({ summary }) => {
        print(summary.text.slice(shown));
        shown = 0;
      },
    };
  }
  // where the thinking ends is known at the end: the last closing tag counts
  const live = new LiveLine();
  return {
    step: ({ step }) => live.show(`${step + 1} tokens`),
    end: ({ summary }) => {
      live.clear();
      print(summary.answer);
    },
  };
}

/** Where a chat template that was asked for comes from. */
async function givenTemplate(model: SdaModel, options: GenerateOptions): Promise<string | null> {
  if (options.chatTemplate === undefined || options.baseIds) return null;
  return (await model.chatTemplate())?.origin ?? null;
}

const HEADINGS: Record<GenerateOptions['mode'], string> = {
  sda: 'SDA',
  steering: 'Steering alone',
  scaling: 'Scaling alone',
  instructed: 'Instruction alone',
  base: 'Base model, both streams',
};

function heading({ mode, core, instruction, baseIds }: GenerateOptions): string {
  if (baseIds) return HEADINGS[mode];
  return `${HEADINGS[mode]}, ${instruction === undefined ? (core ?? 'helpfulness') : 'your instruction'}`;
}
