import type { FinishReason } from '../decode/generate.js';
import type { Choice } from '../method/rule.js';
import type { SdaStep, TokenChoice } from '../method/step.js';
import type { ChoiceOf, Rule, SettingsOf, StreamOf } from '../rules/define.js';
import type { sda } from '../rules/sda.js';
import type { ChatMessage, TemplateVariables } from '../text/chat-template.js';
import type { CoreName } from '../text/instructions.js';
import type { Placement } from '../text/prompts.js';
import type { TextPart } from '../text/reasoning.js';
import type { JUPYTER_DISPLAY, Picture } from './picture.js';
import type { SdaModel } from './sda-model.js';

export type SdaRule = typeof sda;

/** The prompt of one stream where it is not what the rule makes of the request. */
export interface StreamRequest {
  /** The whole prompt as token ids */
  readonly ids?: readonly number[] | undefined;
  /** In place of the request's */
  readonly query?: string | undefined;
  /** What is added to the query; null: nothing */
  readonly instruction?: string | null | undefined;
  readonly system?: string | undefined;
}

/** What to answer, and how. Either text (`query`) or the prompts as token ids. */
export interface GenerateRequest<R extends Rule = SdaRule> {
  /** Q, the user's query */
  readonly query?: string | undefined;
  /** A whole conversation instead, whose last turn is Q: perhaps a system line, then user and assistant */
  readonly messages?: readonly ChatMessage[] | undefined;
  /** I, the alignment instruction in your own words, or what else the rule adds to the query ... */
  readonly instruction?: string | undefined;
  /** ... or one of the built-in ones; default `helpfulness` */
  readonly core?: CoreName | undefined;
  /** What a stream that rules steer away from adds to the query; default: nothing */
  readonly negative?: string | undefined;
  /** Where the instruction stands; default `after-query`, as in the paper */
  readonly placement?: Placement | undefined;
  /** A system line for all prompts; default none, which leaves the template's own default */
  readonly system?: string | undefined;
  /** Put system text into the user's turn, for templates that take no system turn; default false */
  readonly foldSystem?: boolean | undefined;
  /** The date a template may ask for; default now */
  readonly date?: Date | undefined;
  /** Further variables of the chat template, such as `{ enable_thinking: false }` */
  readonly templateVariables?: TemplateVariables | undefined;
  /** Prompts of single streams, by name */
  readonly streams?: Readonly<Partial<Record<StreamOf<R>, StreamRequest>>> | undefined;
  /** Both prompts of SDA as token ids, instead of query, instruction and template */
  readonly prompts?:
    | { readonly baseIds: readonly number[]; readonly instructedIds: readonly number[] }
    | undefined;
  /** The rule's settings; what is left out has its default */
  readonly settings?: Partial<SettingsOf<R>> | undefined;
  /** How many tokens at most; default 256 */
  readonly maxTokens?: number | undefined;
  /** Fixes the text; default 0 */
  readonly seed?: number | undefined;
  /** Texts that end the answer, and are not part of it */
  readonly stop?: readonly string[] | undefined;
  /** Go on after an end-of-text token; default false */
  readonly ignoreEos?: boolean | undefined;
  /**
   * A rule of the catalogue or of your own, or a step for the streams of SDA; the same for all requests of a batch.
   * Default: SDA
   */
  readonly rule?: R | SdaStep | undefined;
  /** Run the base prompt of SDA alone, one row instead of two (with mode `base`), in a batch for all; default false */
  readonly singleStream?: boolean | undefined;
  /** Ends the answer where it is, with the reason `aborted`; the same for all requests of a batch */
  readonly signal?: AbortSignal | undefined;
}

/** The text of one token. */
export interface StepText {
  /** 0, 1, 2, ... */
  readonly step: number;
  /** What the token adds to the text; may be empty until a character or stop string is complete */
  readonly text: string;
  /**
   * `text` sorted into thinking and answer, sometimes a few steps later: the pieces of all steps joined are
   * the whole text. A `</think>` inside the answer makes thinking of what came before it: the summary counts.
   */
  readonly parts: readonly TextPart[];
}

/** What SDA says of a token, with the amplification of its query. */
export interface SdaChoice extends TokenChoice {
  readonly a: number;
}

/** One token. */
export type GenerateStep<C extends Choice = SdaChoice> = C & StepText;
/** One token of an answer by a rule. */
export type StepOf<R extends Rule> = GenerateStep<R extends SdaRule ? SdaChoice : ChoiceOf<R>>;

export interface BatchStep<R extends Rule = SdaRule> {
  /** Index of the request */
  readonly query: number;
  readonly step: StepOf<R>;
  /** The whole answer with its last step; null before, and where it was aborted */
  readonly summary: GenerateSummary<R> | null;
}

export interface BatchOptions {
  /** Answers decoded at once; where one ends the next takes its place. Default: all */
  readonly maxBatch?: number | undefined;
  /** The models of streams that a rule has run by others, by the rule's names for them, such as `amateur` */
  readonly models?: Readonly<Record<string, SdaModel>> | undefined;
}

export interface GenerateSummary<R extends Rule = SdaRule> {
  /** Everything that was written, the thinking of a reasoning model included */
  readonly text: string;
  /** What was thought, without the tags; '' where nothing was */
  readonly thinking: string;
  /** What follows the thinking, or all of `text`: the only part to be scored or judged */
  readonly answer: string;
  /** false where `text` ends inside the thinking: then there is no answer, not an empty one */
  readonly answerFinished: boolean;
  /** The drawn tokens; the end-of-text token, where one was drawn, is the last of them */
  readonly tokenIds: number[];
  readonly finishReason: FinishReason;
  /** Of each stream */
  readonly promptTokens: Readonly<Record<StreamOf<R>, number>>;
  readonly settings: SettingsOf<R> & {
    /** Name of the rule, where it is not SDA */
    readonly rule?: string;
    readonly seed: number;
    readonly maxTokens: number;
    /** The day that the prompts are made with (YYYY-MM-DD), where the chat template asks for it */
    readonly date?: string;
    readonly templateVariables?: TemplateVariables;
  };
  /** Of this answer, milliseconds; tokensPerSecond counts the tokens after the first, which the prefill gives */
  readonly timing: {
    readonly loadMs: number;
    readonly prefillMs: number;
    readonly decodeMs: number;
    readonly tokensPerSecond: number;
  };
  /** The answer as a notebook draws it, its tokens shaded by JS; not enumerable */
  readonly [JUPYTER_DISPLAY]: () => Picture;
}
