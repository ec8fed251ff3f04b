import { cpSync, mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type CheckpointName, checkpointDir } from './checkpoints.js';

/** Printable ASCII, one token a character, after the special tokens 0..5. */
const CHARACTERS = Array.from({ length: 95 }, (_, i) => String.fromCharCode(32 + i));
const SPECIALS = ['<pad>', '<s>', '</s>', '<|user|>', '<|bot|>', '<|system|>'];

/** A template in which every turn is its role's token and its text. */
export const TINY_TEMPLATE =
  "{% for m in messages %}{{ '<|' + m.role + '|>' + m.content }}{% endfor %}{% if add_generation_prompt %}<|bot|>{% endif %}";

/**
 * Gives a tiny checkpoint (V > 100) a tokenizer of single ASCII characters, and a chat template where one is
 * given; `more` special tokens have the ids from 101 on.
 */
export function addTokenizer(
  dir: string,
  chatTemplate?: string,
  more: readonly string[] = [],
): void {
  const byteLevel = (character: string) => (character === ' ' ? 'Ġ' : character);
  const vocab = Object.fromEntries(
    [...SPECIALS, ...CHARACTERS.map(byteLevel), ...more].map((token, id) => [token, id]),
  );
  const tokenizer = {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: [...SPECIALS, ...more].map((content) => ({
      id: vocab[content],
      content,
      single_word: false,
      lstrip: false,
      rstrip: false,
      normalized: false,
      special: true,
    })),
    normalizer: null,
    pre_tokenizer: { type: 'ByteLevel', add_prefix_space: false, use_regex: false },
    post_processor: null,
    decoder: { type: 'ByteLevel' },
    model: { type: 'BPE', vocab, merges: [], ignore_merges: false },
  };
  const config = {
    tokenizer_class: 'PreTrainedTokenizerFast',
    eos_token: '</s>',
    clean_up_tokenization_spaces: false,
    ...(chatTemplate !== undefined && { chat_template: chatTemplate }),
  };
  writeFileSync(join(dir, 'tokenizer.json'), JSON.stringify(tokenizer));
  writeFileSync(join(dir, 'tokenizer_config.json'), JSON.stringify(config));
}

/** A copy of a checkpoint with a tokenizer of characters and a template; the caller removes it. */
export function tinyFolder(name: CheckpointName): string {
  const dir = mkdtempSync(join(tmpdir(), 'sda-test-'));
  cpSync(checkpointDir(name), dir, { recursive: true });
  addTokenizer(dir, TINY_TEMPLATE);
  return dir;
}
