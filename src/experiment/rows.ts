import type { FinishReason } from '../decode/generate.js';
import type { FailureKind } from '../evaluate/types.js';
import type { CoreName } from '../text/instructions.js';

/** Raised when the meaning of rows changes; a run made with another version is refused, not misread. */
export const ROW_SCHEMA = 1;

/** How a response comes about: the modes of SDA, or a correction of the base response. */
export const METHODS = ['base', 'instructed', 'steering', 'scaling', 'sda', 'aligner'] as const;
/** One of METHODS, or the configuration's name for a rule with its settings. */
export type Method = string;

/** A rule as a method: what its responses are decoded with. */
export interface MethodRule {
  /** The rule's name in the catalogue, or that of its file */
  readonly rule: string;
  /** With every default filled in, but for an amplification that the score gives */
  readonly settings: Readonly<Record<string, unknown>>;
}

/** Two methods whose responses the judge compares; what the paper does, with `base` as the second. */
export interface Pairing {
  readonly method: Method;
  /** `base` or another method */
  readonly against: Method;
}

/** Each method against the base model. */
export function againstBase(methods: readonly Method[]): Pairing[] {
  return methods
    .filter((method) => method !== 'base')
    .map((method) => ({ method, against: 'base' }));
}

/** One query of a data set. */
export interface Item {
  /** Unique within the data set, and the same in every run of it */
  readonly id: string;
  readonly query: string;
  /** Fields of the data set that are kept for the report, such as a category */
  readonly labels: Readonly<Record<string, string>>;
}

/**
 * What a response was drawn with, column by column, one entry a token. JS and the log-probabilities are in nats and
 * rounded to four significant digits; null stands for what is not finite.
 */
export interface TokenTrace {
  /** What each token adds to the text; may be '' until a character is complete */
  readonly text: readonly string[];
  readonly js: readonly (number | null)[];
  readonly temperature: readonly (number | null)[];
  readonly logpBase: readonly (number | null)[];
  readonly logpInstructed: readonly (number | null)[];
  readonly logp: readonly (number | null)[];
}

/** The same of a rule: what it says of each token, under its own names. */
export interface RuleTrace {
  readonly text: readonly string[];
  /** log-probability of the token under the distribution that it was drawn from */
  readonly logp: readonly (number | null)[];
  /** ... and in each stream */
  readonly logps: Readonly<Record<string, readonly (number | null)[]>>;
  /** Other numbers, such as `js` and `temperature`; of what holds several, as `details.scoreEntropy` */
  readonly statistics: Readonly<Record<string, readonly (number | null)[]>>;
}

/** Value of a `respond` row. */
export interface Response {
  /** Everything that was written, the thinking of a reasoning model included */
  readonly text: string;
  readonly thinking: string;
  /** All that is scored and judged */
  readonly answer: string;
  readonly finishReason: FinishReason;
  readonly tokens: number;
  /** Of each stream */
  readonly promptTokens: Readonly<Record<string, number>>;
  readonly seed: number;
  /** a of eq 3; null where the method has none */
  readonly a: number | null;
  /** null where traces are off */
  readonly trace: TokenTrace | RuleTrace | null;
  /** Where the method is a rule of the configuration: its name or that of its file, and all settings of this response */
  readonly rule?: string | undefined;
  readonly settings?: Readonly<Record<string, unknown>> | undefined;
}

/** Value of a `score` row: S of the base response. */
export interface Score {
  /** 0..100 */
  readonly score: number;
  /** a = F(S) */
  readonly a: number;
  readonly evaluator: string;
  readonly model: string | null;
  /** The evaluator's answer, where it gave one */
  readonly rawAnswer: string | null;
}

/**
 * Value of a `judge` row: the responses of a pairing. `base` is the side that the method is measured against: the base
 * response, or that of another method.
 */
export interface Verdict {
  readonly winner: 'method' | 'base' | 'tie';
  /** 0..100, means over both orders */
  readonly method: number;
  readonly base: number;
  /** Both orders had the same outcome */
  readonly consistent: boolean;
  readonly judge: string;
  readonly model: string | null;
}

/** Why there is no value: as of the evaluators, or for a response `unfinished-thinking` and `bad-prompt`. */
export interface RowFailure {
  readonly kind: FailureKind | 'unfinished-thinking' | 'bad-prompt' | 'no-score';
  /** One sentence */
  readonly reason: string;
}

/** The result of one stage for one item. A failed row is tried again when the run goes on. */
export type Row<T> =
  | {
      readonly schema: typeof ROW_SCHEMA;
      readonly item: string;
      readonly status: 'done';
      readonly value: T;
    }
  | {
      readonly schema: typeof ROW_SCHEMA;
      readonly item: string;
      readonly status: 'failed';
      readonly failure: RowFailure;
    };

/** `run.json`: what a run is, written before its first row. */
export interface RunHeader {
  readonly schema: typeof ROW_SCHEMA;
  readonly name: string;
  /** All of the configuration that decides the numbers, with every default filled in */
  readonly config: Readonly<Record<string, unknown>>;
  /** SHA-256 of `config` */
  readonly configHash: string;
  /** The fingerprint is of the configuration, the tokenizer and samples of the weights */
  readonly model: { readonly name: string; readonly dtype: string; readonly fingerprint: string };
  readonly dataSet: { readonly name: string; readonly items: number; readonly sha256: string };
  readonly core: CoreName;
  readonly instruction: string;
  readonly methods: readonly Method[];
  /** Those methods that are rules */
  readonly rules?: Readonly<Record<Method, MethodRule>> | undefined;
  /** What the judge compares; empty without a judge */
  readonly comparisons: readonly Pairing[];
  /** One line each, such as "openai gpt-4.1" */
  readonly evaluator: string;
  readonly judge: string | null;
  /** Scores or verdicts come from a stand-in that judges nothing: not to be read as results */
  readonly standIn: boolean;
  readonly seed: number;
}

/** `sessions.jsonl`: one line each time that work on a run began. */
export interface RunSession {
  /** ISO 8601 */
  readonly at: string;
  readonly versions: Readonly<Record<string, string>>;
  readonly machine: string;
  /** Revision of this package; null outside a repository, with "-dirty" where the tree was changed */
  readonly git: string | null;
  /** What changes speed, not numbers */
  readonly options: Readonly<Record<string, unknown>>;
}

/** A run as read back from its folder. Stages that were not begun are absent. */
export interface RunData {
  readonly dir: string;
  readonly header: RunHeader;
  readonly sessions: readonly RunSession[];
  /** In the order of the data set */
  readonly items: readonly Item[];
  /** By item id */
  readonly responses: ReadonlyMap<Method, ReadonlyMap<string, Row<Response>>>;
  readonly scores: ReadonlyMap<string, Row<Score>>;
  /** By `pairingName`, such as "sda" (against base) or "sda-vs-steering", and item id */
  readonly verdicts: ReadonlyMap<string, ReadonlyMap<string, Row<Verdict>>>;
}
