import { listSome } from '../../checkpoint/json-file.js';
import { SdaError } from '../../errors.js';
import type { TokenizerSettings } from './settings.js';

/** What a tokenizer class of transformers does where tokenizer_config.json says nothing. */
export interface TokenizerClass {
  readonly name: string;
  /** The file of its vocabulary. */
  readonly vocabulary: 'tokenizer.model' | 'vocab.json';
  readonly roles: Readonly<Record<string, string>>;
  readonly addBos: boolean;
  readonly addEos: boolean;
  /** Sentinel tokens <extra_id_0> ... that follow the vocabulary, the last one first. */
  readonly extraIds: number;
  /** How a text is cut into words before byte-pair encoding; absent for SentencePiece. */
  readonly words?: 'gpt2' | 'qwen2';
}

const END_OF_TEXT = '<|endoftext|>';
const CLASSES: readonly TokenizerClass[] = [
  {
    name: 'LlamaTokenizer',
    vocabulary: 'tokenizer.model',
    roles: { bos_token: '<s>', eos_token: '</s>', unk_token: '<unk>' },
    addBos: true,
    addEos: false,
    extraIds: 0,
  },
  {
    name: 'T5Tokenizer',
    vocabulary: 'tokenizer.model',
    roles: { eos_token: '</s>', unk_token: '<unk>', pad_token: '<pad>' },
    addBos: false,
    addEos: true,
    extraIds: 100,
  },
  {
    name: 'Qwen2Tokenizer',
    vocabulary: 'vocab.json',
    roles: { eos_token: END_OF_TEXT, unk_token: END_OF_TEXT, pad_token: END_OF_TEXT },
    addBos: false,
    addEos: false,
    extraIds: 0,
    words: 'qwen2',
  },
  {
    name: 'GPT2Tokenizer',
    vocabulary: 'vocab.json',
    roles: { bos_token: END_OF_TEXT, eos_token: END_OF_TEXT, unk_token: END_OF_TEXT },
    addBos: false,
    addEos: false,
    extraIds: 0,
    words: 'gpt2',
  },
];

/** The class of a folder that names none, by model_type of its config.json. */
const OF_MODEL: Readonly<Record<string, string>> = {
  llama: 'LlamaTokenizer',
  mistral: 'LlamaTokenizer',
  qwen2: 'Qwen2Tokenizer',
  qwen3: 'Qwen2Tokenizer',
  gpt2: 'GPT2Tokenizer',
};

/**
 * The class that tokenizer_config.json names, or else the one of the model. A folder with nothing but a
 * SentencePiece model has Llama's.
 * @throws SdaError `unsupported` that names another class
 */
export function tokenizerClass(settings: TokenizerSettings): TokenizerClass {
  const { raw, config, modelType, dir } = settings;
  const named = raw.tokenizer_class?.replace(/Fast$/, '');
  const name = named ?? (modelType === null ? undefined : OF_MODEL[modelType]);
  const known = CLASSES.find((one) => one.name === (name ?? 'LlamaTokenizer'));
  if (known && (name !== undefined || modelType === null)) return known;
  const found =
    named === undefined
      ? `${dir} names no tokenizer class, and its config.json has the model_type ${JSON.stringify(modelType)}`
      : `${config.file} names the tokenizer class ${JSON.stringify(raw.tokenizer_class)}`;
  throw new SdaError(
    'unsupported',
    `${found}; a tokenizer.json is made for ${listSome(CLASSES.map((one) => one.name))}: take the one of the model, or convert it with transformers.`,
  );
}
