import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Command } from 'commander';
import { asBase } from '../generate/as-base.js';
import { settingsJson } from '../generate/json.js';
import type {
  AnsweringModel,
  GenerateRequest,
  Rule,
  RuntimeInfo,
  SdaModel,
  StepOf,
} from '../index.js';
import { type Answer, answer, answerJson, summaryLine } from './answer.js';
import { colours } from './colours.js';
import { engineOf } from './engine-option.js';
import { EXIT_INTERRUPTED } from './failure.js';
import {
  addGenerateOptions,
  amplificationSource,
  type GenerateOptions,
  toRequest,
} from './generate-options.js';
import { openAnywhere, openModel, requireModelDir, withInterrupt } from './load.js';
import { loadOptions, modelDir } from './options.js';
import { note, print, printJson } from './output.js';
import { checkForRule, withSettings } from './rule-options.js';
import { LiveLine } from './terminal.js';
import { Trace } from './trace.js';

/** `sda generate`: one answer, decoded with SDA or another rule. */
export function register(program: Command, rule?: Rule): void {
  const command = program
    .command('generate')
    .description('answer a query with SDA; the text comes on stdout, a summary on stderr')
    .configureOutput({ outputError: (text, write) => write(withSettings(text, rule)) });
  addGenerateOptions(command, rule)
    .addHelpText(
      'after',
      `
Examples:
  sda generate --query "How do I apologise to a colleague?" --core empathy
  sda generate --query "Is it safe to mix bleach and vinegar?" --core harmlessness --compare
  sda generate --query "Tell me about Mars." --instruction "Answer in one sentence." --score 30
  sda generate --query "Tell me about Mars." --rule cfg --weight 1.5 --negative "Answer at length."
  sda generate --engine http://127.0.0.1:8000/v1 --query "Tell me about Mars."   drawn by a vLLM server
  sda generate --rule cfg --help     the settings of a rule, which are options then
  sda generate --model path/to/model --base-ids "1 5 9" --instructed-ids "1 5 7 9" --greedy --json`,
    )
    .action((options: GenerateOptions) => withInterrupt((signal) => run(options, rule, signal)));
}

/** What is answered, and by what. */
interface Task {
  readonly model: AnsweringModel;
  /** Those that run streams of the rule, by its names for them */
  readonly models: Readonly<Record<string, SdaModel>>;
  readonly request: GenerateRequest<Rule>;
  readonly options: GenerateOptions;
  readonly trace: Trace | null;
}

async function run(
  options: GenerateOptions,
  rule: Rule | undefined,
  signal: AbortSignal,
): Promise<void> {
  const request = { ...toRequest(options, rule), signal };
  await checkRule(options, request);
  const trace = options.trace === undefined ? null : new Trace(options.trace);
  try {
    const engine = engineOf(options);
    const dir = engine && options.model === undefined ? null : modelDir(options);
    const { chatTemplate } = options;
    if (dir !== null) requireModelDir(dir);
    for (const [name, other] of Object.entries(options.with ?? {})) {
      requireModelDir(other, `give the folder of another with --with ${name}=DIR`);
    }
    if (dir !== null && !isOfIds(request)) await tryTemplate(dir, options);
    const loading = { ...loadOptions(options), chatTemplate, signal };
    const others = await otherModels(options);
    const model = await openAnywhere(dir, loading, engine);
    const models: Record<string, SdaModel> = {};
    try {
      for (const [name, other] of Object.entries(others)) {
        models[name] = await openModel(other, { ...loading, adapters: undefined });
      }
      await (options.json ? runJson : runText)({ model, models, request, options, trace });
    } finally {
      for (const each of [model, ...Object.values(models)]) each.dispose();
    }
  } finally {
    trace?.close();
  }
}

/** Throws before anything is loaded what the rule has against the options. */
async function checkRule(options: GenerateOptions, request: GenerateRequest<Rule>): Promise<void> {
  const { rule, settings } = request;
  if (!rule && !options.stream && !options.with && options.negative === undefined) return;
  const { resolveSettingsOf, ruleNamed } = await import('../index.js');
  const { checkModelNames } = await import('../generate/request.js');
  const used = (rule ?? ruleNamed('sda')) as Rule;
  checkForRule(options, used);
  resolveSettingsOf(used, settings as object);
  checkModelNames(used, Object.keys(options.with ?? {}));
}

/** Folders of other models by name, after a look at their tokens. */
async function otherModels(options: GenerateOptions): Promise<Readonly<Record<string, string>>> {
  const { with: others = {} } = options;
  const dirs = Object.values(others);
  if (dirs.length === 0) return {};
  const { checkVocabularies } = await import('../generate/request.js');
  const { loadTokenizer } = await import('../text/tokenizer.js');
  const folder = (each: string) => ({ dir: each, tokenizer: () => loadTokenizer(each) });
  await checkVocabularies(folder(modelDir(options)), dirs.map(folder));
  return others;
}

/** Whether all prompts are given as token ids. */
function isOfIds({ prompts, query }: GenerateRequest<Rule>): boolean {
  return prompts !== undefined || query === undefined;
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

async function runText(task: Task): Promise<void> {
  const { model, request, options } = task;
  const { bold } = colours();
  const show = await printer(model, request, options);
  const template = await givenTemplate(model, request, options);
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
    print(`${bold(heading(options, request))}\n\n`);
  }
  const result = await traced(task, show.step);
  show.end(result);
  print('\n');
  note(summaryLine(result, amplificationSource(options)));
  if (result.summary.finishReason === 'aborted') process.exitCode = EXIT_INTERRUPTED;
}

async function runJson(task: Task): Promise<void> {
  const { model, request, options } = task;
  const base = options.compare ? await answer(model, asBase(request)) : null;
  const result = await traced(task, () => {});
  const template = isOfIds(request) ? null : await model.chatTemplate();
  printJson({
    ...answerJson(result),
    chat_template: template?.origin ?? null,
    ...(base && { base: answerJson(base) }),
  });
  if (result.summary.finishReason === 'aborted') process.exitCode = EXIT_INTERRUPTED;
}

async function traced(
  { model, models, request, trace }: Task,
  show: (step: StepOf<Rule>) => void,
): Promise<Answer<Rule>> {
  if (trace) trace.header(model.dir, await settingsOf(model, request), await runtime(model));
  return answer(
    model,
    request,
    (step) => {
      trace?.step(step);
      show(step);
    },
    { models },
  );
}

async function runtime(model: AnsweringModel): Promise<RuntimeInfo | { engine: string }> {
  const { RemoteModel, startTensorFlow } = await import('../index.js');
  if (model instanceof RemoteModel) return { engine: model.label };
  return startTensorFlow();
}

/** The settings that the summary will have, for a trace whose header comes first. */
async function settingsOf(model: AnsweringModel, request: GenerateRequest<Rule>) {
  const { resolveSettingsOf } = await import('../index.js');
  const { ruleOf, templateSettings } = await import('../generate/request.js');
  const { seed = 0, maxTokens = 0, date = new Date() } = request;
  const dated = !isOfIds(request) && (await model.chatTemplate())?.dated === true;
  return settingsJson({
    ...(request.rule && { rule: ruleOf(request).name }),
    ...(resolveSettingsOf(ruleOf(request), request.settings as object) as object),
    seed,
    maxTokens,
    ...templateSettings(request, dated, date),
  });
}

interface Printer {
  step(step: StepOf<Rule>): void;
  /** What is left to print once the answer is complete. */
  end(answer: Answer<Rule>): void;
}

/** Prints the text of each step; the ids where prompts are ids and there is no tokenizer for text. */
async function printer(
  model: AnsweringModel,
  request: GenerateRequest<Rule>,
  { thinking }: GenerateOptions,
): Promise<Printer> {
  const hasText = !isOfIds(request) || (await model.tokenizer().then(Boolean, () => false));
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
async function givenTemplate(
  model: AnsweringModel,
  request: GenerateRequest<Rule>,
  { chatTemplate }: GenerateOptions,
): Promise<string | null> {
  if (chatTemplate === undefined || isOfIds(request)) return null;
  return (await model.chatTemplate())?.origin ?? null;
}

const HEADINGS: Record<GenerateOptions['mode'], string> = {
  sda: 'SDA',
  steering: 'Steering alone',
  scaling: 'Scaling alone',
  instructed: 'Instruction alone',
  base: 'Base model, both streams',
};

function heading(options: GenerateOptions, { rule }: GenerateRequest<Rule>): string {
  const { mode, core, instruction, instructionFile, baseIds } = options;
  if (rule) return (rule as Rule).title;
  if (baseIds) return HEADINGS[mode];
  const own = instruction !== undefined || instructionFile !== undefined;
  return `${HEADINGS[mode]}, ${own ? 'your instruction' : (core ?? 'helpfulness')}`;
}
