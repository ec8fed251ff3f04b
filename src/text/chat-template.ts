import { join } from 'node:path';
import { Environment } from '@huggingface/jinja';
import { readTextFile, readTextFileIfPresent } from '../checkpoint/json-file.js';
import { libraryMessage, SdaError } from '../errors.js';
import { BUILTIN_TEMPLATES, isBuiltinTemplate, PLAIN } from './builtin-templates.js';
import { timeFor, withinTime } from './limits.js';
import { strftime } from './strftime.js';
import { MAX_LIST } from './template-bounds.js';
import { runTemplate } from './template-interpreter.js';
import { parseTemplate, type TemplateProgram } from './template-source.js';
import { loadTokenizerConfig, type TokenizerConfig } from './tokenizer-config.js';

/** One turn of a conversation. */
export interface ChatMessage {
  readonly role: 'system' | 'user' | 'assistant';
  readonly content: string;
}

/** Options of {@link ChatTemplate.render}. */
export interface RenderOptions {
  /** Whether the text ends where the assistant's answer begins; default true. */
  readonly addGenerationPrompt?: boolean | undefined;
  /** What `strftime_now` of a template sees; default now. */
  readonly date?: Date | undefined;
  /** Further variables that the template knows, such as Qwen3's `enable_thinking`. */
  readonly variables?: TemplateVariables | undefined;
}

/** Values that JSON can write, by the name that a template gives them. */
export type TemplateVariables = Readonly<Record<string, unknown>>;

/** A chat template, parsed. */
export interface ChatTemplate {
  /** The file (and name) that it comes from, or the name of a built-in one, for people. */
  readonly origin: string;
  /** Its Jinja text. */
  readonly source: string;
  /** Whether it writes no special tokens of its own, so that the tokenizer's beginning-of-text token is needed. */
  readonly plain: boolean;
  /** Whether it asks for the day, so that its prompts differ from day to day. */
  readonly dated: boolean;
  /** What is odd but harmless, each a sentence for people. */
  readonly warnings: readonly string[];
  /**
   * The messages as one text, special tokens written out.
   * @throws SdaError `bad-template` with the template's own message where it refuses them; `bad-input` for
   *   a variable that it does not know.
   */
  render(messages: readonly ChatMessage[], options?: RenderOptions): string;
}

/**
 * The chat template of a Hugging Face folder: `explicit` (a built-in name, Jinja text, or a
 * file), else chat_template.jinja, else tokenizer_config.json's, of several the one named "default".
 * null where there is none.
 * @throws SdaError `file-missing`, `bad-tokenizer` or `bad-template`, naming the file.
 */
export async function loadChatTemplate(
  dir: string,
  explicit?: string,
): Promise<ChatTemplate | null> {
  const config = await loadTokenizerConfig(dir);
  const found = await findTemplate(dir, config, explicit);
  return found && createChatTemplate(found.source, { origin: found.origin, roles: config.roles });
}

interface Found {
  readonly source: string;
  readonly origin: string;
}

async function findTemplate(
  dir: string,
  config: TokenizerConfig,
  explicit: string | undefined,
): Promise<Found | null> {
  if (explicit !== undefined) return explicitTemplate(explicit);
  const file = join(dir, 'chat_template.jinja');
  const text = await readTextFileIfPresent(file, 'bad-template');
  if (text !== null) return { source: text, origin: file };
  const { chatTemplate } = config;
  if (chatTemplate === null) return null;
  if (typeof chatTemplate === 'string') return { source: chatTemplate, origin: config.file };
  const named = chatTemplate.find(({ name }) => name === 'default');
  const chosen = named ?? (chatTemplate.length === 1 ? chatTemplate[0] : undefined);
  if (chosen)
    return { source: chosen.template, origin: `${config.file} (${JSON.stringify(chosen.name)})` };
  if (chatTemplate.length === 0) return null;
  throw new SdaError(
    'bad-template',
    `${config.file} has the chat templates ${chatTemplate.map(({ name }) => name).join(', ')} but none named default; write the one to use to a file and give that as chat template.`,
  );
}

async function explicitTemplate(explicit: string): Promise<Found> {
  if (isBuiltinTemplate(explicit)) {
    return { source: BUILTIN_TEMPLATES[explicit], origin: `the built-in template ${explicit}` };
  }
  if (/\{[{%]/.test(explicit)) return { source: explicit, origin: 'the given chat template' };
  try {
    const source = await readTextFile(explicit, 'bad-template', { pipe: true });
    return { source, origin: explicit };
  } catch (error) {
    if (!(error instanceof SdaError) || error.code !== 'file-missing') throw error;
    throw new SdaError(
      'file-missing',
      `The chat template ${explicit} is neither a file nor a built-in one (${Object.keys(BUILTIN_TEMPLATES).join(', ')}): give one of these.`,
      { cause: error },
    );
  }
}

/** The error for a prompt that needs a chat template where the checkpoint has none. */
export function noChatTemplate(): SdaError {
  return new SdaError(
    'no-chat-template',
    `The checkpoint has no chat template (neither chat_template.jinja nor one in tokenizer_config.json) to turn a query into a prompt; give --chat-template (chatTemplate) a built-in name (${Object.keys(BUILTIN_TEMPLATES).join(', ')}) or a file.`,
  );
}

/** Parses a template; `roles` are the special tokens that it can write (bos_token, eos_token, ...). */
export function createChatTemplate(
  source: string,
  options: { readonly origin: string; readonly roles: TokenizerConfig['roles'] },
): ChatTemplate {
  const { origin, roles } = options;
  let program: TemplateProgram;
  try {
    program = withinTime(timeFor(source.length), () => parseTemplate(source));
  } catch (error) {
    throw new SdaError(
      'bad-template',
      `The chat template of ${origin} cannot be parsed (${libraryMessage(error, 'it is cut off or no Jinja')}); correct it or give another one.`,
      { cause: error },
    );
  }
  const render: ChatTemplate['render'] = (messages, options = {}) => {
    const { addGenerationPrompt = true, date, variables = {} } = options;
    checkVariables(variables, source, origin);
    const environment = createEnvironment(date ?? new Date());
    for (const [role, token] of Object.entries(roles)) environment.set(role, token);
    environment.set('messages', messages);
    environment.set('add_generation_prompt', addGenerationPrompt);
    environment.set('tools', null);
    environment.set('documents', null);
    try {
      for (const [name, value] of Object.entries(variables)) environment.set(name, value);
      return withinTime(timeFor(lengthOf(messages)), () => runTemplate(program, environment));
    } catch (error) {
      throw renderError(error, origin);
    }
  };
  const plain = source === BUILTIN_TEMPLATES[PLAIN];
  const warnings = plain ? [] : generationPromptWarnings(render, origin);
  const dated = /\bstrftime_now\b/.test(source);
  return { origin, source, plain, dated, warnings, render };
}

/** What {@link RenderOptions.variables} cannot set: the prompt is made of it. */
const OWN_VARIABLES: ReadonlySet<string> = new Set(['messages', 'add_generation_prompt']);

function checkVariables(variables: TemplateVariables, source: string, origin: string): void {
  for (const name of Object.keys(variables)) {
    const known = /^[A-Za-z_]\w*$/.test(name) && new RegExp(`\\b${name}\\b`).test(source);
    if (known && !OWN_VARIABLES.has(name)) continue;
    throw new SdaError(
      'bad-input',
      known
        ? `The template variable ${name} is set by the prompt itself: leave it out.`
        : `The chat template of ${origin} has no variable ${JSON.stringify(name)}: correct the name, or leave it out.`,
    );
  }
}

/** What a template says through `raise_exception`. */
class Refusal extends Error {}

function renderError(error: unknown, origin: string): SdaError {
  const sentence =
    error instanceof Refusal
      ? `The chat template of ${origin} refuses these messages: ${error.message.replace(/[.\s]+$/, '').replace(/\s+/g, ' ')}${/system/i.test(error.message) ? '; --fold-system (foldSystem) puts system text into the user turn' : ''}.`
      : `The chat template of ${origin} cannot be rendered (${libraryMessage(error, 'it uses a value that is not there')}); correct it or give another one.`;
  return new SdaError('bad-template', sentence, { cause: error });
}

function lengthOf(messages: readonly ChatMessage[]): number {
  return messages.reduce((sum, { content }) => sum + content.length, 0);
}

/** The globals of transformers' template environment. */
function createEnvironment(date: Date): Environment {
  const environment = new Environment();
  const constants = { true: true, True: true, false: false, False: false, none: null, None: null };
  for (const [name, value] of Object.entries(constants)) environment.set(name, value);
  environment.set('raise_exception', (message: unknown) => {
    throw new Refusal(String(message));
  });
  environment.set('strftime_now', (format: unknown) => strftime(date, String(format)));
  environment.set('range', range);
  return environment;
}

function range(first: number, second?: number, step = 1): number[] {
  const [start, stop] = second === undefined ? [0, first] : [first, second];
  const length = Math.max(0, Math.ceil((stop - start) / step));
  if (!(length <= MAX_LIST)) {
    throw new Error(`range of ${length} numbers where at most ${MAX_LIST} are allowed`);
  }
  return Array.from({ length }, (_, i) => start + i * step);
}

function generationPromptWarnings(render: ChatTemplate['render'], origin: string): string[] {
  const messages = [{ role: 'user', content: 'Hello' }] as const;
  const date = new Date(0);
  try {
    const without = render(messages, { addGenerationPrompt: false, date });
    if (render(messages, { date }) !== without || without.trimEnd().endsWith('[/INST]')) return [];
  } catch {
    return []; // a template that refuses this message says so when it is used
  }
  return [
    `The chat template of ${origin} ignores add_generation_prompt, so the model may continue the user's turn instead of answering.`,
  ];
}
