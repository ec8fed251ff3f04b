import { readFileSync } from 'node:fs';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { messageOf, SdaError } from '../errors.js';
import { flagOf, type RuleSetting, settingsOf } from '../generate/rule-settings.js';
import type { Rule, StreamRequest, StreamSource } from '../index.js';
import { DEFAULT_SETTINGS } from '../method/settings.js';
import { collect, number, tokenIds } from './options.js';

/** What commander hands over of the options for other rules than SDA; a rule's settings come under their names. */
export interface RuleOptions {
  readonly rule: string;
  readonly instruction?: string;
  readonly instructionFile?: string;
  readonly core?: string;
  readonly negative?: string;
  readonly stream?: readonly StreamOption[];
  readonly with?: Readonly<Record<string, string>>;
  readonly set?: readonly string[];
}

interface StreamOption {
  readonly name: string;
  readonly own: StreamRequest;
}

/** Adds the choice of a rule, and what its streams see. */
export function addStreamOptions(command: Command): Command {
  return command
    .optionsGroup('By which rule:')
    .option('--rule <name>', 'a name that "sda rules" lists, or a JavaScript file', 'sda')
    .option('--negative <text>', 'what a stream adds that the rule steers away from')
    .option(
      '--stream <name:what=text>',
      'another instruction, query, system or ids for one stream; may be repeated',
      streamOption,
    )
    .option(
      '--with <name=dir>',
      'the model of a stream that another one runs, such as amateur; may be repeated',
      modelOption,
    );
}

/** The rule that the arguments of `sda` ask for by its name or file; undefined where it is SDA. */
export function askedRule(argv: readonly string[]): string | undefined {
  const place = argv.findLastIndex((word) => word === '--rule' || word.startsWith('--rule='));
  if (place < 0) return undefined;
  const name = argv[place] === '--rule' ? argv[place + 1] : argv[place]!.slice('--rule='.length);
  return name === 'sda' ? undefined : name;
}

/** An option for a setting of a rule, whose name may be that of another option of the command. */
class SettingOption extends Option {
  constructor(
    private readonly setting: string,
    flags: string,
    description?: string,
  ) {
    super(flags, description);
  }

  override attributeName(): string {
    return keyOf(this.setting);
  }
}

const keyOf = (setting: string) => `setting ${setting}`;

/** Adds the settings of a rule as options. */
export function addRuleOptions(command: Command, rule: Rule): void {
  command.optionsGroup(`Settings of the rule ${rule.name}:`);
  for (const setting of settingsOf(rule)) {
    // where a rule of one's own names a setting as an option is named, --set is left
    if (command.options.some(({ long }) => long === setting.flag)) continue;
    for (const each of optionsFor(setting)) command.addOption(each);
  }
  command.option('--set <name=value>', 'a setting by its name; may be repeated', collect);
}

function optionsFor({ name, flag, type, ...setting }: RuleSetting): Option[] {
  const told = [
    ...(setting.range === '' ? [] : [setting.range]),
    ...(setting.default === undefined ? [] : [`default: ${JSON.stringify(setting.default)}`]),
  ];
  const about = `${setting.meaning} (${told.join('; ')})`.replace(' ()', '').trim();
  if (type === 'boolean') {
    const not = new SettingOption(name, flag.replace('--', '--no-')).hideHelp();
    return [new SettingOption(name, flag, about), not];
  }
  const option = new SettingOption(name, `${flag} <value>`, about);
  if (type === 'number' || type === 'integer') return [option.argParser(number('a number'))];
  return [type === 'object' ? option.argParser(jsonOrText) : option];
}

/** A value of a setting that takes more than one number or text; what is no JSON stays as it is, for the rule to refuse. */
function jsonOrText(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return text;
  }
}

/** The settings that were given; the rule checks them. */
export function settingsGiven(options: RuleOptions, rule: Rule): Record<string, unknown> {
  const settings = settingsOf(rule);
  const values = options as unknown as Readonly<Record<string, unknown>>;
  const direct = settings.map(({ name }) => [name, values[keyOf(name)]] as const);
  const named = (options.set ?? []).map((text) => setOption(text, settings));
  return Object.fromEntries([...direct, ...named].filter(([, value]) => value !== undefined));
}

function setOption(text: string, settings: readonly RuleSetting[]): readonly [string, unknown] {
  const [, name, value] = /^([^=]+)=(.*)$/s.exec(text) ?? [];
  if (name === undefined || value === undefined) {
    throw new SdaError('usage', `--set ${text} has no "=": give a name and a value, name=value.`);
  }
  const plain = settings.find((each) => each.name === name)?.type === 'string';
  return [name, plain ? value : jsonOrText(value)];
}

/** What commander says of an option that does not exist, with the settings of the rule. */
export function withSettings(message: string, rule: Rule | undefined): string {
  const unknown = /^error: (unknown option '.*?')\s*(\(.*\))?\s*$/s.exec(message);
  if (!unknown) return message;
  const what = unknown.slice(1).filter(Boolean).join(' ');
  const flags = rule
    ? settingsOf(rule).map(({ flag }) => flag)
    : Object.keys(DEFAULT_SETTINGS).map(flagOf);
  return `error: ${what}: the settings of the rule ${rule?.name ?? 'sda'} are ${flags.join(', ')}\n`;
}

/** Adds `name:what=text` to what was given before. */
function streamOption(text: string, earlier: readonly StreamOption[] = []): StreamOption[] {
  const [, name, what, value] = /^([^:=]+):(instruction|query|system|ids)=(.*)$/s.exec(text) ?? [];
  if (name === undefined || what === undefined || value === undefined) {
    throw new InvalidArgumentError(
      'Expected a stream and what it sees, such as unconditional:instruction=TEXT (or query, system, ids).',
    );
  }
  const own: StreamRequest =
    what === 'ids'
      ? { ids: tokenIds(value) }
      : { [what]: what === 'instruction' && value === '' ? null : value };
  return [...earlier, { name, own }];
}

/** Adds `name=dir` to what was given before. */
export function modelOption(
  text: string,
  earlier: Readonly<Record<string, string>> = {},
): Record<string, string> {
  const [, name, dir] = /^([^=]+)=(.+)$/s.exec(text) ?? [];
  if (name !== undefined && dir !== undefined) return { ...earlier, [name]: dir };
  throw new InvalidArgumentError('Expected a name and a folder, such as amateur=DIR.');
}

/** What single streams see, by name. */
export function streamsOf({ stream = [] }: RuleOptions): Record<string, StreamRequest> {
  const streams: Record<string, StreamRequest> = {};
  for (const { name, own } of stream) streams[name] = { ...streams[name], ...own };
  return streams;
}

/**
 * That what was given means something to the rule.
 *
 * @throws SdaError `usage`, `bad-input`
 */
export function checkForRule(options: RuleOptions, rule: Rule): void {
  const sources = Object.entries<StreamSource>(rule.streams);
  const names = sources.map(([name]) => name);
  const uses = (adds: StreamSource['adds']) => sources.some(([, source]) => source.adds === adds);
  const wrong = Object.keys(streamsOf(options)).find((name) => !names.includes(name));
  if (wrong !== undefined) {
    throw new SdaError(
      'usage',
      `The rule ${rule.name} has no stream "${wrong}": its streams are ${names.join(', ')}.`,
    );
  }
  const { negative, core, instruction, instructionFile } = options;
  const text = core ?? instruction ?? instructionFile;
  const unused = [
    ...(text !== undefined && !uses('instruction') ? ['an instruction'] : []),
    ...(negative !== undefined && !uses('negative') ? ['a negative text'] : []),
  ][0];
  if (unused === undefined) return;
  throw new SdaError(
    'usage',
    `No stream of the rule ${rule.name} adds ${unused}: leave it out, or give it to one of ${names.join(', ')} with --stream NAME:instruction=TEXT.`,
  );
}

/** I, or the context, from the command line or its file. */
export function instructionText({ instruction, instructionFile }: RuleOptions): string | undefined {
  if (instructionFile === undefined) return instruction;
  try {
    return readFileSync(instructionFile, 'utf8').trim();
  } catch (error) {
    throw new SdaError(
      'file-missing',
      `The file ${instructionFile} cannot be read (${messageOf(error)}): give --instruction-file a text file.`,
      { cause: error },
    );
  }
}
