import { uniformFloat32 } from 'pure-rand/distribution/uniformFloat32';
import { mersenne } from 'pure-rand/generator/mersenne';
import { SdaError } from '../../errors.js';
import { planOf, readChoice } from '../../method/blend.js';
import type { Choice } from '../../method/rule.js';
import type { Rule } from '../../rules/define.js';
import type { EngineServer, ServedModel } from '../server.js';
import type { SourceAsk, TokenSource } from '../source.js';
import { absentIds } from './argument.js';
import { groupTokens } from './group.js';
import { type Probed, probe } from './probe.js';

export interface VllmSourceOptions {
  readonly server: EngineServer;
  readonly model: ServedModel;
  readonly version: string;
  readonly probed: Probed;
  /** Ids below this are those of the config */
  readonly vocabSize: number;
  readonly patienceMs: number;
}

/** Tokens drawn by sda-vllm inside a vLLM server. */
export class VllmSource implements TokenSource {
  private absent: readonly (readonly [number, number])[] | undefined;

  constructor(private readonly options: VllmSourceOptions) {}

  get label(): string {
    const { server, model, version } = this.options;
    return `vLLM ${version} at ${server.endpoint}, model ${model.id}`;
  }

  places(streams: number): number {
    return Math.max(1, Math.floor(this.options.probed.places / streams));
  }

  check({ name, asBlend }: Rule): void {
    if (asBlend) return;
    throw new SdaError(
      'unsupported',
      `The rule ${name} is no weighted sum of streams, which is what a vLLM server draws from: run it on this machine, or by --engine logprobs:URL.`,
    );
  }

  async *tokens(ask: SourceAsk): AsyncGenerator<Choice, void> {
    const { rule, query, maxTokens, endIds, tokenizer, signal } = ask;
    const { server, model, patienceMs, vocabSize } = this.options;
    const { of, choice } = rule.asBlend!;
    const { streams, settings, seed } = query;
    const short = streams.findIndex((ids) => ids.length < 2);
    if (streams.length > 1 && short >= 0) {
      throw new SdaError(
        'bad-input',
        `The ${Object.keys(rule.streams)[short]} prompt has one token: a vLLM server takes streams of two tokens at least.`,
      );
    }
    const blend = of(settings, streams.length);
    const names = Object.keys(rule.streams).slice(0, streams.length);
    const random = mersenne(seed);
    this.absent ??= tokenizer ? absentIds(vocabSize, (id) => tokenizer.hasToken(id)) : undefined;
    const group = {
      model: model.id,
      streams,
      plan: planOf(blend, names),
      uniforms: Array.from({ length: maxTokens }, () => uniformFloat32(random)),
      maxTokens,
      endIds,
      absent: (tokenizer && this.absent) || [],
    };
    const reopen = (again?: AbortSignal) => this.reopen(again);
    for await (const line of groupTokens(server, group, { signal, patienceMs, reopen })) {
      yield choice(readChoice(line, names, blend, 0));
    }
  }

  /** That the same server is back, with the same model. */
  private async reopen(signal?: AbortSignal): Promise<void> {
    const { server, model, version, probed } = this.options;
    const now = await server.model(model.id, signal);
    const found = await probe(server, now, version, signal);
    if (found.vocabSize === probed.vocabSize && now.maxContext === model.maxContext) return;
    throw new SdaError(
      'unsupported',
      `The server at ${server.endpoint} came back with another model: start it as it was, and run the command again.`,
    );
  }
}
