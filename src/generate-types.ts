import type { FinishReason } from './decode/generate.js';
import type { SdaSettings } from './method/settings.js';
import type { StepRule } from './method/rule.js';
import type { TokenChoice } from './method/step.js';
import type { TemplateVariables } from './text/chat-template.js';
import type { CoreName } from './text/instructions.js';
import type { Placement } from './text/prompts.js';
import type { TextPart } from './text/reasoning.js';

/** What to answer, and how. Either text (`query`) or both prompts as token ids. */
export interface GenerateRequest {
  /** Q, the user's query */
  readonly query?: string | undefined;
  /** I, the alignment instruction in your own words ... */
  readonly instruction?: string | undefined;
  /** ... or one of the built-in ones; default `helpfulness` */
  readonly core?: CoreName | undefined;
  /** Where the instruction stands; default `after-query`, as in the paper */
  readonly placement?: Placement | undefined;
  /** A system line for both prompts; default none, which leaves the template's own default */
  readonly system?: string | undefined;
  /** Put system text into the user's turn, for templates that take no system turn; default false */
  readonly foldSystem?: boolean | undefined;
  /** The date a template may ask for; default now */
  readonly date?: Date | undefined;
  /** Further variables of the chat template, such as `{ enable_thinking: false }` */
  readonly templateVariables?: TemplateVariables | undefined;
  /** Both prompts as token ids, instead of query, instruction and template */
  readonly prompts?:
    | { readonly baseIds: readonly number[]; readonly instructedIds: readonly number[] }
    | undefined;
  readonly settings?: Partial<SdaSettings> | undefined;
  /** How many tokens at most; default 256 */
  readonly maxTokens?: number | undefined;
  /** Fixes the text; default 0 */
  readonly seed?: number | undefined;
  /** Texts that end the answer, and are not part of it */
  readonly stop?: readonly string[] | undefined;
  /** Go on after an end-of-text token; default false */
  readonly ignoreEos?: boolean | undefined;
  /** Another rule than the paper's for turning logits into tokens; the same for all requests of a batch */
  readonly rule?: StepRule<Partial<SdaSettings>, TokenChoice> | undefined;
  /** Run the base prompt alone, one row instead of two (with mode `base`), in a batch for all; default false */
  readonly singleStream?: boolean | undefined;
  /** Ends the answer where it is, with the reason `aborted`; the same for all requests of a batch */
  readonly signal?: AbortSignal | undefined;
}

/** One token. */
export interface GenerateStep extends TokenChoice {
  /** 0, 1, 2, ... */
  readonly step: number;
  /** What the token adds to the text; may be empty until a character or stop string is complete */
  readonly text: string;
  /**
   * `text` sorted into thinking and answer, sometimes a few steps later: the pieces of all steps joined are
   * the whole text. A `</think>` inside the answer makes thinking of what came before it: the summary counts.
   */
  readonly parts: readonly TextPart[];
  readonly a: number;
}

export interface BatchStep {
  /** Index of the request */
  readonly query: number;
  readonly step: GenerateStep;
  /** The whole answer with its last step; null before, and where it was aborted */
  readonly summary: GenerateSummary | null;
}

export interface BatchOptions {
  /** Answers decoded at once; where one ends the next takes its place. Default: all */
  readonly maxBatch?: number | undefined;
}

export interface GenerateSummary {
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
  readonly promptTokens: { readonly base: number; readonly instructed: number };
  readonly settings: SdaSettings & {
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
}
