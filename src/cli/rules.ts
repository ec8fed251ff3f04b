import type { Command } from 'commander';
import wrapAnsi from 'wrap-ansi';
import { type RuleSetting, settingsOf } from '../generate/rule-settings.js';
import type { Rule, StreamSource } from '../index.js';
import { alignColumns } from '../text/columns.js';
import { colours } from './colours.js';
import { print, printJson } from './output.js';
import { columnsOf } from './terminal.js';

interface Options {
  readonly json?: boolean;
}

/** `sda rules`: the catalogue. */
export function register(program: Command): void {
  program
    .command('rules')
    .argument('[name]', 'one of them, or a JavaScript file with a rule of your own')
    .description('list the rules that decode, with their formulas, streams and settings')
    .option('--json', 'print JSON')
    .addHelpText('after', '\nExamples:\n  sda rules\n  sda rules cfg\n  sda rules --json')
    .action(run);
}

async function run(name: string | undefined, { json }: Options): Promise<void> {
  if (name !== undefined) {
    const { loadRule } = await import('../generate/load-rule.js');
    const rule = await loadRule(name);
    return json ? printJson(ruleJson(rule)) : print(ruleText(rule, name));
  }
  const { RULES } = await import('../index.js');
  const rules = RULES as readonly Rule[];
  if (json) return printJson(rules.map(ruleJson));
  print(`${rules.map(listed).join('\n\n')}\n\nsda rules NAME shows one with an example.\n`);
}

function ruleJson(rule: Rule) {
  const { name, title, formula, source, streams } = rule;
  return {
    name,
    title,
    formula,
    source,
    streams: Object.entries<StreamSource>(streams).map(([stream, { adds, model }]) => ({
      name: stream,
      adds: adds ?? null,
      model: model ?? null,
    })),
    settings: settingsOf(rule).map(({ default: value, ...rest }) => ({
      ...rest,
      default: value ?? null,
    })),
  };
}

/** A rule in a few lines. */
function listed(rule: Rule): string {
  const { bold } = colours();
  const { name, title, formula, source, streams } = rule;
  const settings = settingsOf(rule).map(({ name: setting, default: value }) =>
    value === undefined ? setting : `${setting} ${shown(value)}`,
  );
  const rows: [string, string][] = [
    ['formula', formula],
    ['streams', Object.entries<StreamSource>(streams).map(streamText).join('; ')],
    ['settings', settings.join(', ')],
    ['source', source],
  ];
  return [`${bold(name)}  ${title}`, ...rows.map(indented)].join('\n');
}

/** A line of a name and its text, which goes on below itself. */
function indented([name, text]: readonly [string, string]): string {
  const begin = 12;
  const width = Math.max(40, columnsOf(process.stdout)) - begin;
  const [first, ...more] = wrapAnsi(text, width).split('\n');
  const rest = more.map((line) => ' '.repeat(begin) + line);
  return [`  ${name.padEnd(begin - 2)}${first}`, ...rest].join('\n');
}

/** All of a rule, with a command to try. */
function ruleText(rule: Rule, name: string): string {
  const { bold } = colours();
  const settings = settingsOf(rule);
  const rows = settings.map(({ flag, type, range, default: value, meaning }) => [
    `  ${flag}`,
    range || type,
    value === undefined ? '' : shown(value),
    meaning,
  ]);
  const streams = Object.entries<StreamSource>(rule.streams);
  return [
    `${bold(rule.name)}  ${rule.title}`,
    ...[
      ['formula', rule.formula] as const,
      ...streams.map((each, index) => [index === 0 ? 'streams' : '', streamText(each)] as const),
      ['source', rule.source] as const,
    ].map(indented),
    '',
    ...alignColumns([['  setting', 'range', 'default', 'meaning'], ...rows]),
    '',
    `Example:\n  ${example(rule, name, settings)}\n`,
  ].join('\n');
}

/** Such as "unconditional: query and negative text". */
function streamText([stream, { adds, model }]: readonly [string, StreamSource]): string {
  const what = {
    instruction: 'query and instruction',
    negative: 'query and negative text',
    nothing: 'query',
  }[adds ?? 'nothing'];
  return `${stream}: ${what}${model === undefined ? '' : `, run by the model ${model}`}`;
}

function example(rule: Rule, name: string, settings: readonly RuleSetting[]): string {
  const sources = Object.values<StreamSource>(rule.streams);
  const uses = (adds: StreamSource['adds']) => sources.some((source) => source.adds === adds);
  const models = new Set(sources.flatMap(({ model }) => model ?? []));
  const number = settings.find(
    ({ type, default: value }) => type === 'number' && value !== undefined,
  );
  return [
    'sda generate --query "Tell me about Mars."',
    ...(rule.name === 'sda' ? [] : [`--rule ${name}`]),
    ...(number ? [`${number.flag} ${shown(number.default)}`] : []),
    ...(uses('instruction') ? ['--instruction "Answer in one sentence."'] : []),
    ...(uses('negative') ? ['--negative "Answer at length."'] : []),
    ...[...models].map((model) => `--with ${model}=DIR`),
  ].join(' ');
}

function shown(value: unknown): string {
  return typeof value === 'string' ? value : JSON.stringify(value);
}
