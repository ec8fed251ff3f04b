import type { DecodeEvent, DecodeTiming, FinishReason } from '../decode/event.js';
import type { Choice } from '../method/rule.js';
import { allEndings } from '../model/endings.js';
import type { Rule } from '../rules/define.js';
import { sda } from '../rules/sda.js';
import { splitReasoning } from '../text/reasoning.js';
import type { Tokenizer } from '../text/tokenizer.js';
import { AnswerText } from './answer-text.js';
import type { TextModel } from './answering.js';
import { type PictureToken, pictureToken, withPicture } from './picture.js';
import type { Prepared } from './request.js';
import type { GenerateRequest, GenerateSummary, StepOf } from './types.js';

/** What an answer is made with. */
export interface Making extends Prepared {
  readonly model: Pick<TextModel, 'config' | 'loadMs'>;
  readonly rule: Rule;
  readonly request: GenerateRequest<Rule>;
  /** null where all prompts are ids and there is none */
  readonly tokenizer: Tokenizer | null;
}

/** One answer while it is being decoded; until it ends by itself, its reason is 'aborted'. */
export class Answer {
  private readonly text: AnswerText;
  private readonly endIds: ReadonlySet<number>;
  private readonly tokenIds: number[] = [];
  private readonly shown: PictureToken[] = [];
  private finishReason: FinishReason = 'aborted';
  private timing: DecodeTiming = { prefillMs: 0, decodeMs: 0 };

  constructor(private readonly making: Making) {
    const { model, request, tokenizer, query } = making;
    this.text = new AnswerText(tokenizer, request.stop ?? [], query.streams[0]!);
    const endings = request.ignoreEos ? [] : allEndings(model.config, tokenizer);
    this.endIds = new Set(endings.map(({ id }) => id));
  }

  /** Sees each token as it is drawn. @returns whether it ends the text */
  endsWith({ id }: Choice): boolean {
    return this.endIds.has(id) || this.text.push(id);
  }

  /** A token as it is shown, with its text. */
  take<R extends Rule>({ choice, finishReason, timing }: DecodeEvent<Choice>): StepOf<R> {
    this.timing = timing;
    const step = this.tokenIds.push(choice.id) - 1;
    if (finishReason !== null) this.finishReason = finishReason;
    const { amplification: a } = this.making.query.settings as { amplification?: unknown };
    const taken = {
      step,
      ...choice,
      ...(typeof a === 'number' && { a }),
      ...this.text.take(finishReason !== null),
    };
    this.shown.push(pictureToken(taken));
    return taken as unknown as StepOf<R>;
  }

  summary<R extends Rule>(): GenerateSummary<R> {
    const { model, rule, template, query } = this.making;
    const { streams, settings, seed, maxTokens } = query;
    const { tokenIds, finishReason, timing } = this;
    const text = this.text.all();
    const { thinking, answer, finished } = splitReasoning(text, this.text);
    const { length } = tokenIds;
    const names = Object.keys(rule.streams);
    const promptTokens = names.map((name, index) => [name, (streams[index] ?? streams[0]!).length]);
    const summary = {
      text,
      thinking,
      answer,
      answerFinished: finished,
      tokenIds,
      finishReason,
      promptTokens: Object.fromEntries(promptTokens) as Record<string, number>,
      settings: {
        ...(rule.name !== sda.name && { rule: rule.name }),
        ...settings,
        seed,
        maxTokens,
        ...template,
      },
      timing: {
        loadMs: model.loadMs,
        ...timing,
        tokensPerSecond: length > 1 ? ((length - 1) / timing.decodeMs) * 1000 : 0,
      },
    };
    return withPicture(summary as object, this.shown) as GenerateSummary<R>;
  }
}
