import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { tiny } from '../../text/golden.js';

/** What Python gives; see test/fixtures/import/tokenizer/make.py. */
export interface Golden {
  readonly texts: readonly string[];
  readonly models: Readonly<Record<string, ModelGolden>>;
  /** Of each class first the ids of the texts, then what other settings change, by place */
  readonly 'byte-level': readonly {
    config: Json;
    ids?: number[][];
    changed?: Readonly<Record<string, number[]>>;
  }[];
}

export interface ModelGolden {
  /** Ids of the texts by sentencepiece itself, null where rounding alone decides between several */
  readonly plain: readonly (number[] | null)[];
  /** Texts of those ids by sentencepiece, by place, where they are not the texts themselves */
  readonly decoded: Readonly<Record<string, string>>;
  readonly random: readonly { ids: number[]; text: string }[];
  readonly settings: readonly {
    readonly config: Json;
    /** The ids around a text */
    readonly around: number[];
    /** Ids by transformers, by place, where they are not those of sentencepiece */
    readonly changed: Readonly<Record<string, number[]>>;
  }[];
}

type Json = Readonly<Record<string, unknown>>;

const FIXTURES = fileURLToPath(new URL('../../fixtures/import/tokenizer/', import.meta.url));

export const golden = JSON.parse(readFileSync(`${FIXTURES}golden.json`, 'utf8')) as Golden;

/** The bytes of a trained `tokenizer.model`. */
export const modelBytes = (name: string): Uint8Array => readFileSync(`${FIXTURES}${name}.model`);

/** The tiny byte-level tokenizer as vocab.json and merges.txt. */
export function byteLevelFiles(): Readonly<Record<'vocab.json' | 'merges.txt', string>> {
  const { model } = JSON.parse(readFileSync(join(tiny('byte-level'), 'tokenizer.json'), 'utf8'));
  const merges = (model.merges as (string | string[])[]).map((merge) =>
    typeof merge === 'string' ? merge : merge.join(' '),
  );
  return {
    'vocab.json': JSON.stringify(model.vocab),
    'merges.txt': `${['#version: 0.2', ...merges].join('\n')}\n`,
  };
}
