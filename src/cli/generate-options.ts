import { readFileSync } from 'node:fs';
import { type Command, Option } from 'commander';
import { SdaError } from '../errors.js';
import type { GenerateRequest, Rule } from '../index.js';
import { AMPLIFICATIONS, type AmplificationName, amplify } from '../method/amplification.js';
import { DEFAULT_SETTINGS, MODES, type Mode } from '../method/settings.js';
import { BUILTIN_TEMPLATES } from '../text/builtin-templates.js';
import { CORES, type CoreName } from '../text/instructions.js';
import { PLACEMENTS, type Placement } from '../text/prompts.js';
import { addEngineOption, type EngineOptions } from './engine-option.js';
import {
  addLoadOptions,
  addModelOption,
  collect,
  day,
  type ModelOptions,
  number,
  templateVariable,
  tokenIds,
  wholeNumber,
} from './options.js';
import {
  addRuleOptions,
  addStreamOptions,
  instructionText,
  type RuleOptions,
  settingsGiven,
  streamsOf,
} from './rule-options.js';

/** What commander hands to the action of `sda generate`. */
export interface GenerateOptions extends ModelOptions, RuleOptions, EngineOptions {
  readonly query?: string;
  readonly core?: CoreName;
  readonly placement?: Placement;
  readonly system?: string;
  readonly foldSystem?: boolean;
  readonly chatTemplate?: string;
  readonly date?: Date;
  readonly templateVar?: Record<string, unknown>;
  readonly baseIds?: number[];
  readonly instructedIds?: number[];
  readonly score?: number;
  readonly scoreFunction: AmplificationName;
  readonly amplification?: number;
  readonly mode: Mode;
  readonly k: number;
  readonly t0: number;
  readonly sigma: number;
  readonly tMin: number;
  readonly topP: number;
  readonly topK: number;
  readonly minP: number;
  readonly plausibility: number;
  readonly greedy: boolean;
  readonly seed: number;
  readonly maxTokens: number;
  readonly stop?: string[];
  readonly ignoreEos?: boolean;
  readonly compare?: boolean;
  readonly trace?: string;
  readonly thinking: 'show' | 'hide';
  readonly json?: boolean;
}

const fraction = number('a number in 0..1', (value) => value >= 0 && value <= 1);
const positive = number('a number above 0', (value) => value > 0);
const notNegative = number('a number of at least 0', (value) => value >= 0);

const option = (flags: string, description: string) => new Option(flags, description);

/** Adds the options of `sda generate` to a command, among them the settings of the rule, by default SDA. */
export function addGenerateOptions(command: Command, rule?: Rule): Command {
  addPromptOptions(addEngineOption(addLoadOptions(addModelOption(command))));
  addStreamOptions(command);
  if (!rule) addSdaOptions(command);
  addOutputOptions(command);
  if (rule) addRuleOptions(command, rule); // when all other options are known
  return command;
}

function addPromptOptions(command: Command): Command {
  return command
    .optionsGroup('What to answer:')
    .option('--query <text>', 'the question; "-" reads it from standard input')
    .addOption(
      option('--core <name>', 'a built-in alignment instruction (default: helpfulness)')
        .choices(CORES)
        .conflicts('instruction'),
    )
    .option(
      '--instruction <text>',
      'an alignment instruction of your own, or what else a rule adds',
    )
    .addOption(
      option('--instruction-file <file>', 'the same from a file').conflicts([
        'core',
        'instruction',
      ]),
    )
    .addOption(
      option(
        '--placement <where>',
        'where the instruction stands (default: after-query, as in the paper)',
      ).choices(PLACEMENTS),
    )
    .option('--system <text>', 'a system line for all prompts')
    .option(
      '--fold-system',
      "put system text into the user's turn, for templates that take no system turn",
    )
    .option(
      '--chat-template <name>',
      `a file, or a built-in template (${Object.keys(BUILTIN_TEMPLATES).join(', ')}), instead of the model's own`,
    )
    .option('--date <yyyy-mm-dd>', 'the day that a template sees (default: today)', day)
    .option(
      '--template-var <name=json>',
      'a variable of the template, such as enable_thinking=false; may be repeated',
      templateVariable,
    )
    .addOption(
      option('--base-ids <ids>', 'the base prompt as token ids, such as "1 2 3"')
        .argParser(tokenIds)
        .conflicts([
          'query',
          'core',
          'instruction',
          'instructionFile',
          'placement',
          'system',
          'foldSystem',
          'chatTemplate',
          'date',
          'templateVar',
        ]),
    )
    .addOption(
      option('--instructed-ids <ids>', 'the instructed prompt as token ids').argParser(tokenIds),
    );
}

function addSdaOptions(command: Command): Command {
  const d = DEFAULT_SETTINGS;
  return command
    .optionsGroup('How strongly to align:')
    .addOption(
      option('--score <s>', 'S, score of the base answer, 0..100 (default: about 70, a = 0.2)')
        .argParser(number('a number'))
        .conflicts('amplification'),
    )
    .addOption(
      option('--score-function <name>', 'which F turns the score into a; sigmoid is eq 3')
        .choices(Object.keys(AMPLIFICATIONS))
        .default('sigmoid')
        .conflicts('amplification'),
    )
    .option('--amplification <a>', 'a itself, instead of a score', number('a number'))
    .option('--k <k>', 'steering strength', positive, d.k)
    .option('--t0 <t>', 'base temperature T0; 0 is greedy', notNegative, d.t0)
    .option('--sigma <sigma>', 'sensitivity of T to the divergence', positive, d.sigma)
    .option('--t-min <t>', 'lower bound of T', notNegative, d.tMin)
    .addOption(
      option('--mode <mode>', 'all of SDA, a part of it, or plain decoding')
        .choices(MODES)
        .default(d.mode),
    )
    .option('--plausibility <alpha>', 'never draw P2 < alpha max P2; 0: off', fraction, 0)
    .optionsGroup('How to sample:')
    .option('--top-p <p>', 'nucleus threshold; 1: off', fraction, d.topP)
    .option('--top-k <n>', 'keep the n likeliest tokens; 0: off', wholeNumber(0), d.topK)
    .option('--min-p <p>', 'keep tokens this likely beside the likeliest; 0: off', fraction, d.minP)
    .option('--greedy', 'always take the likeliest token', d.greedy);
}

function addOutputOptions(command: Command): Command {
  return command
    .optionsGroup('How long, and what to print:')
    .option('--seed <n>', 'fixes the text', wholeNumber(0), 0)
    .option('--max-tokens <n>', 'length of the answer at most', wholeNumber(1), 256)
    .option('--stop <text>', 'end the answer before this text; may be repeated', collect)
    .option('--ignore-eos', 'go on after an end-of-text token')
    .option('--compare', 'answer as the base model first, then with SDA')
    .option('--trace <file>', 'write a JSONL file: a header, then one line a step')
    .addOption(
      option('--thinking <how>', 'whether the thinking of a reasoning model is printed')
        .choices(['show', 'hide'])
        .default('show'),
    )
    .option('--json', 'print one JSON object at the end instead of text');
}

/**
 * The options as a request, checked as far as that goes without the model.
 *
 * @param rule default: SDA
 * @throws SdaError `usage` for options that do not go together, `bad-input` for a score out of range or an
 *   empty query
 */
export function toRequest(options: GenerateOptions, rule?: Rule): GenerateRequest<Rule> {
  const prompts = promptIds(options, rule);
  const streams = streamsOf(options);
  if (rule && options.compare && options.query === undefined) {
    throw new SdaError(
      'usage',
      '--compare answers the query as the base model: give it with --query.',
    );
  }
  return {
    ...(prompts
      ? { prompts }
      : textOf(
          options,
          Object.values(streams).some(({ ids }) => ids),
        )),
    ...(Object.keys(streams).length > 0 && { streams }),
    ...(rule && { rule }),
    negative: options.negative,
    settings: rule ? settingsGiven(options, rule) : sdaSettings(options),
    maxTokens: options.maxTokens,
    seed: options.seed,
    stop: options.stop,
    ignoreEos: options.ignoreEos,
  };
}

function sdaSettings(options: GenerateOptions) {
  const { mode, k, t0, sigma, tMin, topP, topK, minP, greedy, plausibility } = options;
  const amplification = amplificationOf(options);
  return { mode, k, t0, sigma, tMin, topP, topK, minP, greedy, plausibility, amplification };
}

function amplificationOf({ amplification, score, scoreFunction }: GenerateOptions): number {
  if (score !== undefined) return amplify(score, scoreFunction);
  if (scoreFunction !== 'sigmoid') {
    throw new SdaError('usage', '--score-function needs a score: give it with --score.');
  }
  return amplification ?? DEFAULT_SETTINGS.amplification;
}

function promptIds({ baseIds, instructedIds }: GenerateOptions, rule?: Rule) {
  if (!baseIds && !instructedIds) return undefined;
  if (rule) {
    const names = Object.keys(rule.streams);
    throw new SdaError(
      'usage',
      `--base-ids and --instructed-ids are the prompts of SDA, but the streams of the rule ${rule.name} are ${names.join(', ')}: give --stream "${names[0]}:ids=1 2 3", and so on.`,
    );
  }
  if (baseIds && instructedIds) return { baseIds, instructedIds };
  const [given, missing] = baseIds
    ? ['--base-ids', '--instructed-ids']
    : ['--instructed-ids', '--base-ids'];
  throw new SdaError('usage', `${given} gives one of two prompts: give ${missing} as well.`);
}

function textOf(options: GenerateOptions, someIds: boolean) {
  const { query, core, placement, system, foldSystem } = options;
  const { date = new Date(), templateVar: templateVariables } = options;
  const instruction = instructionText(options);
  if (query === undefined && someIds) return {}; // the other streams say it where they lack one
  if (query === undefined) {
    throw new SdaError(
      'usage',
      'There is nothing to answer: give --query TEXT, or both --base-ids and --instructed-ids.',
    );
  }
  const text = query === '-' ? readFileSync(0, 'utf8').trim() : query;
  if (text.trim() === '') {
    throw new SdaError('bad-input', 'The query is empty: give a question with --query.');
  }
  const prompt = { query: text, core, instruction, placement, system, foldSystem };
  return { ...prompt, date, templateVariables };
}

/** Where a comes from, for the summary. */
export function amplificationSource({ amplification, score }: GenerateOptions): string {
  if (score !== undefined) return ` (score ${score})`;
  return amplification === undefined ? ' (default, a score of about 70)' : '';
}
