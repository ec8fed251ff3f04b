import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { tokenizerFiles } from '../../src/import/tokenizer/files.js';
import { createTokenizer } from '../../src/text/tokenizer.js';
import { byteLevelFiles, modelBytes } from '../import/tokenizer/golden.js';
import { message, modelProto, type ProtoValue, TYPE } from '../import/tokenizer/model-proto.js';
import { root, utf8 } from './files.js';
import { type Dice, joined, mutateBytes } from './mutate.js';
import { expectAccepted, fuzz } from './outcome.js';

const CONFIG = { roles: {}, extraSpecialTokens: [], addedTokens: [], chatTemplate: null };
const texts = ['', ' Hello  cat 12', 'é日😀\0\n', '<s>a</s><sep>', 'a'.repeat(60)];

describe('tokenizers that are imported', () => {
  const seeds = ['bpe', 'bpe-own', 'bpe-bare', 'unigram', 'unigram-own'].map(modelBytes);

  it('tokenizer.model', async () => {
    const dir = join(root, 'tokenizer-model');
    mkdirSync(dir);
    const { accepted } = await fuzz(400, [dir], async (dice, { lap }) => {
      const bytes = dice.below(2) === 0 ? hostileModel(dice) : mutateBytes(dice.pick(seeds), dice);
      writeFileSync(join(dir, 'tokenizer.model'), bytes);
      writeFileSync(
        join(dir, 'tokenizer_config.json'),
        JSON.stringify({ legacy: dice.pick([true, false, null]) }),
      );
      await expectUsable(dir, lap);
    });
    expectAccepted(accepted, 20);
  });

  it('vocab.json and merges.txt', async () => {
    const dir = join(root, 'byte-level-files');
    mkdirSync(dir);
    writeFileSync(join(dir, 'tokenizer_config.json'), '{"tokenizer_class": "Qwen2Tokenizer"}');
    const files = Object.entries(byteLevelFiles());
    const { accepted } = await fuzz(100, [dir], async (dice, { lap }) => {
      const hurt = dice.below(2);
      for (const [i, [name, text]] of files.entries()) {
        writeFileSync(join(dir, name), i === hurt ? mutateBytes(utf8(text), dice) : text);
      }
      await expectUsable(dir, lap);
    });
    expectAccepted(accepted, 5);
  });
});

/** What is made of a folder must load, or be refused, and give ids that have tokens. */
async function expectUsable(dir: string, lap: () => void): Promise<void> {
  const made = await tokenizerFiles(dir);
  lap();
  const json: unknown = JSON.parse(JSON.stringify(made['tokenizer.json']));
  const tokenizer = createTokenizer(json, {
    file: join(dir, 'tokenizer.json'),
    config: { ...CONFIG, file: join(dir, 'tokenizer_config.json') },
  });
  for (const text of texts) {
    lap();
    const ids = tokenizer.encode(text);
    expect(ids.filter((id) => !tokenizer.hasToken(id))).toEqual([]);
    tokenizer.decode(ids);
  }
}

const WORDS = ['', 'a', 'aa', 'ab', '\u2581', '<s>', '__proto__', '<0x00>', '\ufeff', '(', '😀'];
const NUMBERS = [0, 1, 2, 3, -1, 2 ** 31, 2 ** 40];

/** A well-formed message whose fields say anything. */
function hostileModel(dice: Dice): Uint8Array {
  const value = (): ProtoValue => {
    if (dice.below(2) === 0) return dice.pick(NUMBERS);
    return dice.pick<ProtoValue>([
      dice.pick(WORDS),
      new Uint8Array(dice.below(9)),
      'x'.repeat(900),
    ]);
  };
  const fields = () =>
    Array.from({ length: dice.below(4) }, () => [1 + dice.below(45), value()] as const);
  const special = ['<unk>', '<s>', '</s>'].map((text, id) => ({
    text,
    type: id === 0 ? TYPE.unknown : TYPE.control,
  }));
  const pieces = Array.from({ length: dice.below(30) }, (_, i) => ({
    text: dice.below(4) === 0 ? dice.pick(WORDS) : 'a'.repeat(1 + dice.below(3) * i * i),
    score: dice.pick([0, -1, 1, -i, 1e30, Number.NaN]),
    type: dice.below(4) === 0 ? dice.below(8) : TYPE.normal,
  }));
  const settings = () => (dice.below(3) === 0 ? fields() : ([[3, 1 + dice.below(2)]] as const));
  const model = modelProto([...special, ...pieces], settings(), settings());
  return joined(model, message(dice.below(3) === 0 ? fields() : []));
}
