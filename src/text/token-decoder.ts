import { z } from 'zod';
import { describeIssues } from '../checkpoint/json-file.js';
import { messageOf, SdaError } from '../errors.js';
import { timeFor, withinTime } from './limits.js';

/**
 * Turns tokens into text one at a time: the joined results of `push` and the final `flush` are the
 * text of all tokens. Nothing is emitted that a later token can change.
 */
export interface TokenDecoder {
  push(token: string): string;
  /** The text that was still held back; the decoder is at its end afterwards. */
  flush(): string;
}

/** One step of the chain in tokenizer.json's "decoder": pieces of text in, pieces of text out. */
interface Stage {
  push(piece: string): readonly string[];
  flush(): readonly string[];
}

const patternSchema = z.union([z.object({ String: z.string() }), z.object({ Regex: z.string() })]);
const stageSchema = z.discriminatedUnion('type', [
  z.object({ type: z.literal('ByteLevel') }),
  z.object({ type: z.literal('ByteFallback') }),
  z.object({ type: z.literal('Fuse') }),
  z.object({ type: z.literal('Replace'), pattern: patternSchema, content: z.string() }),
  z.object({
    type: z.literal('Strip'),
    content: z.string(),
    start: z.number().int().nonnegative(),
    stop: z.number().int().nonnegative(),
  }),
  z.object({
    type: z.literal('Metaspace'),
    replacement: z.string().default('\u2581'),
    prepend_scheme: z.string().optional(),
    add_prefix_space: z.boolean().optional(),
  }),
]);
const STAGE_TYPES: ReadonlySet<string> = new Set(
  stageSchema.options.map(({ shape }) => shape.type.value),
);
type StageConfig = z.infer<typeof stageSchema>;
const sequenceSchema = z.object({ type: z.literal('Sequence'), decoders: z.array(z.unknown()) });

/**
 * A factory of decoders for the "decoder" of a tokenizer.json, with the results of the Rust library
 * `tokenizers`, invalid UTF-8 included.
 * @throws SdaError `unsupported` for another kind of decoder, `bad-tokenizer` for a malformed one.
 */
export function tokenDecoderFactory(config: unknown, file: string): () => TokenDecoder {
  const stages = flatten(config).map((stage) => parseStage(stage, file));
  const fuse = stages.findIndex(({ type }) => type === 'Fuse');
  const afterFuse = fuse < 0 ? [] : stages.slice(fuse + 1);
  const odd = afterFuse.find((stage) => stage.type !== 'Strip' || stage.stop > 0);
  if (odd) throw unsupported(file, `${odd.type} after Fuse`);
  const make = stages.map((stage, i) => stageFactory(stage, fuse >= 0 && i > fuse, file));
  if (config === null || config === undefined) make.push(() => new Spaces());
  return () => new Chain(make.map((stage) => stage()));
}

function flatten(config: unknown): unknown[] {
  if (config === null || config === undefined) return [];
  const sequence = sequenceSchema.safeParse(config);
  return sequence.success ? sequence.data.decoders.flatMap(flatten) : [config];
}

function parseStage(config: unknown, file: string): StageConfig {
  const stage = stageSchema.safeParse(config);
  if (stage.success) return stage.data;
  const { type } = config as { type?: unknown };
  if (typeof type !== 'string') throw unsupported(file, 'without a type');
  if (!STAGE_TYPES.has(type)) throw unsupported(file, type);
  throw new SdaError(
    'bad-tokenizer',
    `${file} has a malformed ${type} decoder (${describeIssues(stage.error)}); download it again.`,
  );
}

function unsupported(file: string, what: string): SdaError {
  return new SdaError(
    'unsupported',
    `${file} has a decoder ${what} where ByteLevel, ByteFallback, Fuse, Replace, Strip and Metaspace in their usual order are supported.`,
  );
}

function stageFactory(config: StageConfig, fused: boolean, file: string): () => Stage {
  switch (config.type) {
    case 'ByteLevel':
      return () => new ByteLevel();
    case 'ByteFallback':
      return () => new ByteFallback();
    case 'Fuse':
      return () => new EachPiece((piece) => piece);
    case 'Replace': {
      const { content } = config;
      const pattern = compile(config.pattern, file);
      const replace = (piece: string) => {
        // At worst, every place between two characters is replaced.
        if (piece.length + (piece.length + 1) * content.length > MAX_PIECE) throw tooLong(file);
        return piece.replaceAll(pattern, () => content);
      };
      if (typeof pattern === 'string') return () => new EachPiece(replace);
      return () => new EachPiece((piece) => limited(piece, replace, file));
    }
    case 'Strip': {
      const { content, start, stop } = config;
      if (fused) return () => new StripStart(content, start);
      return () => new EachPiece((piece) => strip(piece, content, start, stop));
    }
    case 'Metaspace': {
      const { replacement } = config;
      const scheme =
        config.prepend_scheme ?? (config.add_prefix_space === false ? 'never' : 'always');
      return () =>
        new EachPiece((piece, i) =>
          piece.replaceAll(replacement, () => (i === 0 && scheme !== 'never' ? '' : ' ')),
        );
    }
  }
}

function compile(pattern: z.infer<typeof patternSchema>, file: string): string | RegExp {
  if ('String' in pattern) return pattern.String;
  try {
    return new RegExp(pattern.Regex, 'gu');
  } catch (error) {
    throw new SdaError(
      'unsupported',
      `${file} has a decoder that replaces /${pattern.Regex}/, which JavaScript does not understand.`,
      { cause: error },
    );
  }
}

/** Most characters that replacements may make of one token: a few of them that double a text make it endless. */
const MAX_PIECE = 2 ** 20;

function tooLong(file: string): SdaError {
  return new SdaError(
    'bad-tokenizer',
    `${file} has a decoder that can make more than ${MAX_PIECE} characters of one token; take the tokenizer of the original model.`,
  );
}

/** A regular expression of the file may backtrack for ever. */
function limited(piece: string, replace: (piece: string) => string, file: string): string {
  try {
    return withinTime(timeFor(piece.length), () => replace(piece));
  } catch (error) {
    if (error instanceof SdaError) throw error;
    throw new SdaError(
      'bad-tokenizer',
      `${file} has a decoder that cannot be run (${messageOf(error)}); take the tokenizer of the original model.`,
      { cause: error },
    );
  }
}

function strip(piece: string, content: string, start: number, stop: number): string {
  let from = 0;
  while (from < start && piece[from] === content) from++;
  let to = piece.length;
  while (to > from && piece.length - to < stop && piece[to - 1] === content) to--;
  return piece.slice(from, to);
}

class Chain implements TokenDecoder {
  constructor(private readonly stages: readonly Stage[]) {}

  push(token: string): string {
    return this.run([token], 0).join('');
  }

  flush(): string {
    const out = this.stages.map((stage, i) => this.run(stage.flush(), i + 1).join(''));
    return out.join('');
  }

  private run(pieces: readonly string[], from: number): readonly string[] {
    let current = pieces;
    for (const stage of this.stages.slice(from)) current = current.flatMap((p) => stage.push(p));
    return current;
  }
}

class EachPiece implements Stage {
  private index = 0;

  constructor(private readonly change: (piece: string, index: number) => string) {}

  push(piece: string): readonly string[] {
    return [this.change(piece, this.index++)];
  }

  flush(): readonly string[] {
    return [];
  }
}

/** The tokens of a tokenizer without decoder, with a space between them. */
class Spaces extends EachPiece {
  constructor() {
    super((piece, i) => (i === 0 ? piece : ` ${piece}`));
  }
}

/** Takes up to `count` times `content` away at the start of the whole text. */
class StripStart implements Stage {
  constructor(
    private readonly content: string,
    private count: number,
  ) {}

  push(piece: string): readonly string[] {
    let from = 0;
    while (this.count > 0 && from < piece.length) {
      if (piece[from] === this.content) {
        this.count--;
        from++;
      } else {
        this.count = 0;
      }
    }
    return [piece.slice(from)];
  }

  flush(): readonly string[] {
    return [];
  }
}

const encoder = new TextEncoder();

/** Characters that stand for bytes, each a printable one of its own (GPT-2's table). */
export const BYTE_OF_CHARACTER: ReadonlyMap<string, number> = byteTable();

function byteTable(): Map<string, number> {
  const table = new Map<string, number>();
  const isPrintable = (byte: number) =>
    (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte !== 0xad);
  let next = 256;
  for (let byte = 0; byte < 256; byte++) {
    table.set(String.fromCodePoint(isPrintable(byte) ? byte : next++), byte);
  }
  return table;
}

/** Tokens are bytes written as characters; bytes of an unfinished character are held back. */
class ByteLevel implements Stage {
  private readonly utf8 = new TextDecoder('utf-8', { ignoreBOM: true });

  push(token: string): readonly string[] {
    const bytes: number[] = [];
    for (const character of token) {
      const byte = BYTE_OF_CHARACTER.get(character);
      // A token with any other character (an added one, such as <｜User｜>) is plain text.
      if (byte === undefined) return [this.utf8.decode(encoder.encode(token), { stream: true })];
      bytes.push(byte);
    }
    return [this.utf8.decode(Uint8Array.from(bytes), { stream: true })];
  }

  flush(): readonly string[] {
    return [this.utf8.decode()];
  }
}

/**
 * Tokens <0x00> to <0xFF> are bytes. A run of them is text if all of it is valid UTF-8, else one
 * U+FFFD a byte, so a run is held back until another token ends it.
 */
class ByteFallback implements Stage {
  private run: number[] = [];

  push(token: string): readonly string[] {
    const match = /^<0x([0-9A-Fa-f]{2})>$/.exec(token);
    if (!match) return [...this.flush(), token];
    this.run.push(Number.parseInt(match[1]!, 16));
    return [];
  }

  flush(): readonly string[] {
    const { run } = this;
    if (run.length === 0) return [];
    this.run = [];
    try {
      const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
      return [utf8.decode(Uint8Array.from(run))];
    } catch {
      return run.map(() => '\ufffd');
    }
  }
}
