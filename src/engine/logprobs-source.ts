import { tensor2d } from '@tensorflow/tfjs-core';
import { uniformFloat32 } from 'pure-rand/distribution/uniformFloat32';
import { mersenne } from 'pure-rand/generator/mersenne';
import { SdaError } from '../errors.js';
import { type Choice, type Drawn, readDraw } from '../method/rule.js';
import type { Rule } from '../rules/define.js';
import { startTensorFlow } from '../runtime/tensorflow.js';
import { Patience } from './patience.js';
import type { CompletionChunk, EngineServer, ServedModel } from './server.js';
import type { SourceAsk, TokenSource } from './source.js';

export interface LogprobsSourceOptions {
  readonly server: EngineServer;
  readonly model: ServedModel;
  readonly vocabSize: number;
  /** Milliseconds without a new token, after an error that may pass, before the answer is given up */
  readonly patienceMs: number;
}

/** What servers write in place of -Infinity */
const FLOOR = -9998;

/**
 * Tokens drawn here, from the log-probabilities of the whole vocabulary that a server gives of each stream: a request a
 * token, some megabytes each. Takes every rule that does not read inside the model.
 */
export class LogprobsSource implements TokenSource {
  private constructor(private readonly options: LogprobsSourceOptions) {}

  /** @throws SdaError `unsupported` where the server does not give all log-probabilities */
  static async open(options: LogprobsSourceOptions, signal?: AbortSignal): Promise<LogprobsSource> {
    await startTensorFlow();
    const source = new LogprobsSource(options);
    await options.server.told(() => source.lines([[1, 2]], signal));
    return source;
  }

  get label(): string {
    const { server, model } = this.options;
    return `log-probabilities of ${server.endpoint}, model ${model.id}`;
  }

  places(): number {
    return 4;
  }

  check({ name, step }: Rule): void {
    if (!step.taps) return;
    throw new SdaError(
      'unsupported',
      `The rule ${name} reads inside the model, which a server does not show: run it on this machine.`,
    );
  }

  async *tokens(ask: SourceAsk): AsyncGenerator<Choice, void> {
    const { rule, query, maxTokens, tokenizer, signal } = ask;
    const { step } = rule;
    const random = mersenne(query.seed);
    const drawn: number[] = [];
    step.begin?.(0, query.settings as never);
    try {
      while (drawn.length < maxTokens && !signal?.aborted) {
        const lines = await this.patiently(
          query.streams.map((prompt) => [...prompt, ...drawn]),
          signal,
        );
        if (!lines) return;
        for (const line of lines) {
          for (const id of line.keys()) if (tokenizer?.hasToken(id) === false) line[id] = -Infinity;
        }
        const choice = await draw(rule, lines, query.settings, uniformFloat32(random));
        drawn.push(choice.id);
        yield choice;
      }
    } finally {
      step.end?.(0);
    }
  }

  /** Log-probabilities after each prompt; undefined after an abort. */
  private async patiently(
    prompts: readonly (readonly number[])[],
    signal?: AbortSignal,
  ): Promise<Float32Array[] | undefined> {
    const { server, patienceMs } = this.options;
    const patience = new Patience(patienceMs);
    for (;;) {
      try {
        return await this.lines(prompts, signal);
      } catch (error) {
        if (signal?.aborted) return undefined;
        if (!patience.bears(error)) throw server.explain(error);
      }
      await patience.wait(signal);
    }
  }

  private async lines(
    prompts: readonly (readonly number[])[],
    signal?: AbortSignal,
  ): Promise<Float32Array[]> {
    const { server, model, vocabSize } = this.options;
    const choices = await Promise.all(
      prompts.map(async (prompt) => {
        const body = {
          model: model.id,
          prompt,
          max_tokens: 1,
          temperature: 1,
          logprobs: vocabSize,
          return_tokens_as_token_ids: true,
          n_probs: vocabSize, // llama.cpp's word for logprobs
        };
        const [choice] = await server.complete(body, signal);
        return choice;
      }),
    );
    return choices.map((choice) => this.lineOf(choice));
  }

  private lineOf(choice: CompletionChunk | undefined): Float32Array {
    const { server, vocabSize } = this.options;
    const line = new Float32Array(vocabSize).fill(Number.NaN);
    for (const [id, value] of valuesOf(choice)) {
      if (Number.isInteger(id) && id >= 0 && id < vocabSize) {
        line[id] = value < FLOOR ? Number.NEGATIVE_INFINITY : value;
      }
    }
    const known = line.filter((value) => !Number.isNaN(value)).length;
    if (known === vocabSize) return line;
    throw new SdaError(
      'unsupported',
      `The server at ${server.endpoint} gives the log-probabilities of ${known} of ${vocabSize} ids: --engine logprobs: needs all of them by id (of vLLM, start it with --max-logprobs -1).`,
    );
  }
}

/** Log-probabilities by id: as vLLM writes them, and as llama.cpp does. */
function valuesOf(choice: CompletionChunk | undefined): (readonly [number, number])[] {
  const { top_logprobs: lines, content } = choice?.logprobs ?? {};
  const named = Object.entries(lines?.[0] ?? {});
  return [
    ...named.map(([token, value]) => [Number(token.replace(/^token_id:/, '')), value] as const),
    ...(content?.[0]?.top_logprobs ?? []).map(({ id, logprob }) => [id, logprob] as const),
  ];
}

async function draw(
  { step }: Rule,
  lines: readonly Float32Array[],
  settings: object,
  uniform: number,
): Promise<Choice> {
  const V = lines[0]!.length;
  const values = new Float32Array(lines.length * V);
  for (const [stream, line] of lines.entries()) values.set(line, stream * V);
  const logits = tensor2d(values, [lines.length, V]);
  try {
    const drawn: Drawn = await step(logits, { settings: [settings as never], uniforms: [uniform] });
    return 'lines' in drawn ? (await readDraw(drawn))[0]! : drawn[0]!;
  } finally {
    logits.dispose();
  }
}
