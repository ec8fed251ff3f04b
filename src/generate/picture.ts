import type { Choice } from '../method/rule.js';
import type { GenerateStep, GenerateSummary } from './types.js';

/** What notebooks draw a value by: Deno's kernel calls a method of this name on the last value of a cell. */
export const JUPYTER_DISPLAY: unique symbol = Symbol.for('Jupyter.display');

/** A value as a notebook shows it: the richest form that it knows. */
export interface Picture {
  readonly 'text/html': string;
  readonly 'text/plain': string;
}

/** A token in a picture: its text, and what the rule says of it, where it does. */
export interface PictureToken {
  readonly text: string;
  /** Jensen-Shannon divergence of the streams, nats, 0..ln 2 */
  readonly js?: number | undefined;
  readonly temperature?: number | undefined;
  /** Log-probability of the token where it was drawn from, nats */
  readonly logp: number;
}

/** What a picture keeps of a step. */
export function pictureToken(step: GenerateStep<Choice>): PictureToken {
  const { text, logp, js, temperature } = step as GenerateStep<Choice> & Record<string, unknown>;
  return { text, logp, js: numberOrNone(js), temperature: numberOrNone(temperature) };
}

function numberOrNone(value: unknown): number | undefined {
  return typeof value === 'number' && Number.isFinite(value) ? value : undefined;
}

/** Gives a summary its picture, which neither JSON nor a comparison of values sees. */
export function withPicture(summary: object, tokens: readonly PictureToken[]): unknown {
  const value = () => pictureOf(summary as GenerateSummary, tokens);
  return Object.defineProperty(summary, JUPYTER_DISPLAY, { value });
}

/** The answer with each token shaded by JS; what else is said of a token stands in its title. */
function pictureOf(summary: GenerateSummary, tokens: readonly PictureToken[]): Picture {
  const { text } = summary;
  const length = tokens.reduce((sum, token) => sum + token.text.length, 0);
  const spans = tokens.filter((token) => token.text !== '').map(spanOf);
  const heldBack = escaped(text.slice(length)); // of an answer that was left
  const shaded = tokens.some(({ js }) => js !== undefined);
  const caption = `${captionOf(summary)}${shaded ? '; shaded by JS, 0 to ln 2 nats' : ''}`;
  return {
    'text/html': `<div style="margin:0.5em 0"><div style="opacity:0.7;font-size:85%">${escaped(caption)}</div><div style="white-space:pre-wrap;line-height:1.6">${spans.join('')}${heldBack}</div></div>`,
    'text/plain': text,
  };
}

function captionOf({ settings, tokenIds, finishReason }: GenerateSummary): string {
  const { rule, mode, k, amplification: a } = settings;
  const how = rule ?? `sda, mode ${mode}, k ${k}, a ${a.toPrecision(3)}`;
  return `${how}: ${tokenIds.length} tokens, ended by ${finishReason}`;
}

function spanOf({ text, js, temperature, logp }: PictureToken): string {
  const said = [
    ...(js === undefined ? [] : [`JS ${js.toPrecision(3)}`]),
    ...(temperature === undefined ? [] : [`T ${temperature.toPrecision(3)}`]),
    `log P ${logp.toFixed(2)}`,
  ];
  const shade = js === undefined ? '' : ` style="background:rgba(240,150,50,${strength(js)})"`;
  return `<span title="${said.join(', ')}"${shade}>${escaped(text)}</span>`;
}

/** By the square root, as in the report: most divergences are small. */
function strength(js: number): string {
  return (0.8 * Math.sqrt(Math.min(1, Math.max(0, js) / Math.LN2))).toFixed(3);
}

const ENTITIES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
};

function escaped(text: string): string {
  return text.replace(/[&<>"]/g, (character) => ENTITIES[character]!);
}
