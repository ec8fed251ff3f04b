import type { IntrinsicPromptOptions } from '../evaluate/intrinsic-evaluator.js';
import type { Evaluator } from '../evaluate/types.js';
import type { SdaEngine } from '../generate/engine.js';
import type { Limits } from './limits.js';
import type { Metrics } from './metrics.js';
import type { SdaField } from './schema.js';

/** An evaluator for prompts that are made in one way; those that ask another model do not look at it. */
export type EvaluatorFor = (prompt: IntrinsicPromptOptions) => Evaluator;

/** What requests are answered with. */
export interface Service {
  readonly engine: SdaEngine;
  /** The model's name in requests and answers */
  readonly name: string;
  /** By the names that requests give them */
  readonly evaluators: Readonly<Record<string, EvaluatorFor>>;
  /** The field `sda` of requests that have none; undefined: plain decoding */
  readonly defaults: SdaField | undefined;
  readonly limits: Limits;
  readonly metrics: Metrics;
}
