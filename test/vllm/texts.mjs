/** A model without a folder: prompts, texts and stop strings by what the server offers, against this machine's. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { openModel } from '../../dist/src/index.js';
import { check } from './checks.mjs';

const greedy = { greedy: true };
const JAPANESE = 'Translate "good morning" into Japanese.';
const REQUESTS = {
  'a text': { query: 'What is the capital of France?', settings: greedy },
  'characters of several tokens': { query: JAPANESE, settings: greedy },
  'half a character at the end': {
    query: JAPANESE,
    seed: 5,
    settings: { topP: 0.95, amplification: 0.2 },
  },
  'a control token in a text': { query: 'What does <|im_end|> mean?', settings: greedy },
  'a stop string': { query: 'Count from one to ten.', stop: [', t', '4'], settings: greedy },
  'a conversation': {
    messages: [
      { role: 'system', content: 'You are brief.' },
      { role: 'user', content: 'One?' },
      { role: 'assistant', content: 'Two.' },
      { role: 'user', content: 'Three?' },
    ],
    settings: greedy,
  },
};
const TOKENS = 24;

/** What this machine says, by name. */
export async function textsHere(local) {
  const expected = {};
  for (const [name, request] of Object.entries(REQUESTS)) {
    expected[name] = await told(local, request);
  }
  const { pieces } = expected['characters of several tokens'];
  check('characters come in several tokens', pieces.includes('') ? '' : pieces.join('|'));
  const { text } = expected['half a character at the end'];
  check('a text ends in half a character', text.endsWith('\ufffd') ? '' : text);
  return expected;
}

export async function texts(vllm, dir, expected) {
  const engine = { kind: 'vllm', baseUrl: vllm.url };
  const model = await openModel(null, { engine });
  for (const name of ['config.json', 'tokenizer.json', 'tokenizer_config.json']) {
    const [theirs, ours] = [model.dir, dir].map((each) => readFileSync(join(each, name), 'utf8'));
    check(`the server offers ${name}`, theirs === ours ? '' : 'it is another');
  }
  check('no warning', model.warnings.join('; '));
  for (const [name, request] of Object.entries(REQUESTS)) {
    const found = await told(model, request);
    const same = JSON.stringify(found) === JSON.stringify(expected[name]);
    const wrong = `${JSON.stringify(found)}, expected ${JSON.stringify(expected[name])}`;
    check(`without a folder: ${name}`, same ? '' : wrong);
  }
  model.dispose();
}

/** The text of each token, the whole, and what the prompts were. */
async function told(model, request) {
  const pieces = [];
  const answer = model.generate({ core: 'helpfulness', maxTokens: TOKENS, ...request });
  for (;;) {
    const { value, done } = await answer.next();
    if (!done) pieces.push(value.text);
    else {
      const { text, tokenIds, finishReason, promptTokens } = value;
      return { pieces, text, tokenIds, finishReason, promptTokens };
    }
  }
}
