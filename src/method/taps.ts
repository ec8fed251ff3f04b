import type { Tensor2D } from '@tensorflow/tfjs-core';

/** What a rule reads inside the model of a stream, of its newest token. */
export interface Tap {
  /** The stream, by its place */
  readonly stream: number;
  /** After how many layers, 0 to all of them; 0 is the embedding, as in the `hidden_states` of transformers */
  readonly after: number;
  /**
   * `hidden`: the hidden state as it is, float32 [hidden]. `logits`: what the model's last norm and head make of it, float32
   * [V]. `head`: what the head makes of it without the norm, float32 [V]. Logits hold -Infinity for ids that no token has.
   */
  readonly of: 'hidden' | 'logits' | 'head';
}

/** What a rule is told of the model of a stream, to choose its layers by. */
export interface TappedModel {
  readonly layers: number;
  /** Size of a hidden state */
  readonly hidden: number;
  /** Whether the head is the embedding's matrix */
  readonly tied: boolean;
}

/** What the taps of a rule have read in one step; it is gone after the step. */
export interface Tapped {
  /** Those of each query of the step, as the rule named them */
  readonly taps: readonly (readonly Tap[])[];
  /**
   * One tap, of all B queries of the step: float32 [B, hidden] or [B, V], which is the caller's. A line of a query that
   * did not name it has no meaning.
   *
   * @throws SdaError `bad-input` where no query of the step named it
   */
  readonly read: (tap: Tap) => Tensor2D;
}
