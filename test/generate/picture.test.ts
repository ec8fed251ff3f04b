import { cpSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import {
  type GenerateRequest,
  JUPYTER_DISPLAY,
  loadModel,
  openEngine,
  type SdaModel,
  type SdaStep,
  type StepRule,
} from '../../src/index.js';
import { cfg } from '../../src/rules/cfg.js';
import { readAll, summaryOf } from '../support/answers.js';
import { checkpointDir } from '../support/checkpoints.js';
import { useTensorFlow } from '../support/tensorflow.js';
import { addTokenizer, TINY_TEMPLATE } from '../support/tiny-tokenizer.js';

useTensorFlow();

const dir = mkdtempSync(join(tmpdir(), 'sda-picture-'));
let model: SdaModel;
beforeAll(async () => {
  cpSync(checkpointDir('tiny-llama'), dir, { recursive: true });
  addTokenizer(dir, TINY_TEMPLATE);
  model = await loadModel(dir);
});
afterAll(() => {
  model.dispose();
  rmSync(dir, { recursive: true, force: true });
});

const asked = {
  query: 'Is 1 < 2 & "3" > 2?',
  instruction: 'Be brief.',
  maxTokens: 12,
  ignoreEos: true,
  seed: 3,
} as const;
const request: GenerateRequest = { ...asked, settings: { amplification: 0.5 } };

function answer(from: Pick<SdaModel, 'generate'>) {
  return readAll(from.generate(request));
}

const ENTITY: Record<string, string> = { amp: '&', lt: '<', gt: '>', quot: '"' };
const unescaped = (html: string) => html.replace(/&(\w+);/g, (_, name: string) => ENTITY[name]!);

/** Title, strength of the shade and text of each token in a picture */
function tokensIn(html: string) {
  const span =
    /<span title="([^"]*)"(?: style="background:rgba\(240,150,50,([\d.]+)\)")?>([^<]*)<\/span>/g;
  return [...html.matchAll(span)].map(([, title, strength, text]) => ({
    title,
    strength: strength === undefined ? undefined : Number(strength),
    text: unescaped(text!),
  }));
}

test('a notebook draws an answer with each token shaded by the root of its JS', async () => {
  const { steps, summary } = await answer(model);
  const picture = summary[Symbol.for('Jupyter.display') as typeof JUPYTER_DISPLAY]();
  expect(picture['text/plain']).toBe(summary.text);
  const drawn = tokensIn(picture['text/html']);
  const shown = steps.filter(({ text }) => text !== '');
  expect(drawn.map(({ text }) => text)).toEqual(shown.map(({ text }) => text));
  expect(drawn.map(({ text }) => text).join('')).toBe(summary.text);
  for (const [index, { js, temperature, logp }] of shown.entries()) {
    const { strength, title } = drawn[index]!;
    expect(strength).toBeCloseTo(0.8 * Math.sqrt(js / Math.LN2), 2);
    expect(title).toBe(
      `JS ${js.toPrecision(3)}, T ${temperature.toPrecision(3)}, log P ${logp.toFixed(2)}`,
    );
  }
  expect(picture['text/html']).toContain('sda, mode sda, k 2, a 0.500: 12 tokens, ended by length');
});

test('an engine and a batch draw the same', async () => {
  const { summary } = await answer(model);
  const engine = await openEngine(model, { places: 2, context: 128 });
  const beside = await answer(engine);
  await engine.close();
  expect(beside.summary[JUPYTER_DISPLAY]()).toEqual(summary[JUPYTER_DISPLAY]());
  const both = await summaryOf(model.generateBatch([request, request]));
  for (const each of both) expect(each[JUPYTER_DISPLAY]()).toEqual(summary[JUPYTER_DISPLAY]());
});

test('the picture is part of no JSON and of no comparison', async () => {
  const { summary } = await answer(model);
  expect(Reflect.ownKeys(summary)).toContain(JUPYTER_DISPLAY);
  expect(Object.getOwnPropertyDescriptor(summary, JUPYTER_DISPLAY)!.enumerable).toBe(false);
  expect({ ...summary }).toEqual(JSON.parse(JSON.stringify(summary)));
});

test('another rule is named, and its streams shade the text too', async () => {
  const rule = { ...cfg, name: 'cfg<1>' };
  const { steps, summary } = await readAll(model.generate({ ...asked, rule }));
  const html = summary[JUPYTER_DISPLAY]()['text/html'];
  expect(html).toContain('cfg&lt;1&gt;: 12 tokens');
  const shown = steps.filter(({ text }) => text !== '');
  const strengths = shown.map(({ js }) => Number((0.8 * Math.sqrt(js / Math.LN2)).toFixed(3)));
  expect(tokensIn(html).map(({ strength }) => strength)).toEqual(strengths);
  expect(Math.max(...strengths)).toBeGreaterThan(0);
});

test('a step that says no JS is drawn without shades', async () => {
  const step: StepRule<unknown> = (_, { uniforms }) => uniforms.map(() => ({ id: 40, logp: -1.5 }));
  const rule = step as unknown as SdaStep; // as JavaScript may hand it over
  const summary = await summaryOf(model.generate({ ...request, rule }));
  const html = summary[JUPYTER_DISPLAY]()['text/html'];
  expect(html).not.toContain('shaded');
  const token = { title: 'log P -1.50', strength: undefined, text: 'B' };
  expect(tokensIn(html)).toEqual(Array.from({ length: 12 }, () => token));
});

test('an answer that was stopped is drawn whole, with what its stop strings held back', async () => {
  const whole = (await answer(model)).summary.text;
  const stop = `${whole.slice(6, 10)}\u0000`; // begins in the answer, and is never complete
  const leave = new AbortController();
  const run = model.generate({ ...request, stop: [stop], signal: leave.signal });
  for (;;) {
    const { value, done } = await run.next();
    if (!done) {
      if (value.step === 7) leave.abort();
      continue;
    }
    expect(value.finishReason).toBe('aborted');
    const html = value[JUPYTER_DISPLAY]()['text/html'];
    const body = /line-height:1.6">(.*)<\/div><\/div>$/s.exec(html)![1]!;
    expect(unescaped(body.replace(/<[^>]*>/g, ''))).toBe(value.text);
    expect(value.text.length).toBeGreaterThan(6);
    break;
  }
});
