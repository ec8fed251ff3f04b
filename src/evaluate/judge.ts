import { createHash } from 'node:crypto';
import type { CoreName } from '../text/instructions.js';
import { ChatModel, type Question } from './chat-model.js';
import type { ChatOptions } from './chat-options.js';
import { parsePair } from './parse.js';
import { PAIR_FORMAT, PAIR_SCHEMA, pairMessages } from './rubrics.js';
import type { FailureKind, Provenance } from './types.js';

export interface JudgeOptions extends ChatOptions {
  /** Your own rubric, instead of the built-in one of each core */
  readonly rubric?: string | undefined;
  /** Decides which order of each pair is asked first; default 0 */
  readonly seed?: number | undefined;
}

/** Two responses to one query. */
export interface Pair {
  readonly query: string;
  readonly first: string;
  readonly second: string;
  readonly core: CoreName;
}

/** A pair is judged in both orders. */
export const QUESTIONS_A_PAIR = 2;

/** Which of the two is shown first. */
export type ShownOrder = 'first-second' | 'second-first';

/** What was judged in one order; scores 0..100 belong to the pair's `first` and `second`, as shown in any order. */
export type OrderResult =
  | {
      readonly status: 'judged';
      readonly order: ShownOrder;
      readonly first: number;
      readonly second: number;
      readonly provenance: Provenance;
    }
  | {
      readonly status: 'failed';
      readonly order: ShownOrder;
      readonly kind: FailureKind;
      readonly reason: string;
      readonly provenance: Provenance;
    };

/**
 * The verdict on a pair. A side wins only where both orders name it: where they differ, the order decided, not the
 * responses, and it is a tie. A pair of which one order failed is failed: neither a number nor a tie.
 */
export type PairResult =
  | {
      readonly status: 'judged';
      readonly winner: 'first' | 'second' | 'tie';
      /** Both orders have the same outcome */
      readonly consistent: boolean;
      /** Means over both orders */
      readonly first: number;
      readonly second: number;
      /** In the order in which they were asked */
      readonly orders: readonly [OrderResult, OrderResult];
    }
  | {
      readonly status: 'failed';
      readonly kind: FailureKind;
      readonly reason: string;
      readonly orders: readonly [OrderResult, OrderResult];
    };

type Judged = Extract<OrderResult, { status: 'judged' }>;

/** Judges pairs of responses by a model behind any OpenAI-compatible server, each in both orders. */
export class PairJudge {
  readonly name = 'judge';
  /** The model asked, with what it has cost */
  readonly chat: ChatModel;

  /** @throws SdaError `bad-input`; see `ChatModel`. */
  constructor(private readonly options: JudgeOptions = {}) {
    this.chat = new ChatModel(options);
  }

  /** @throws SdaError `bad-input` where an answer cannot be kept in the cache folder. */
  async judge(pair: Pair, options: { signal?: AbortSignal | undefined } = {}): Promise<PairResult> {
    const [one, other] = askingOrder(pair, this.options.seed ?? 0);
    const orders = [
      await this.inOrder(pair, one, options),
      await this.inOrder(pair, other, options),
    ] as const;
    const failed = orders.find((result) => result.status === 'failed');
    if (failed?.status === 'failed') {
      return { status: 'failed', kind: failed.kind, reason: failed.reason, orders };
    }
    const judged = orders as readonly [Judged, Judged];
    const winners = judged.map(({ first, second }) => Math.sign(first - second));
    const consistent = winners[0] === winners[1];
    const sign = consistent ? winners[0]! : 0;
    return {
      status: 'judged',
      winner: sign > 0 ? 'first' : sign < 0 ? 'second' : 'tie',
      consistent,
      first: (judged[0].first + judged[1].first) / 2,
      second: (judged[0].second + judged[1].second) / 2,
      orders,
    };
  }

  private async inOrder(
    { query, core, first, second }: Pair,
    order: ShownOrder,
    options: { signal?: AbortSignal | undefined },
  ): Promise<OrderResult> {
    const shown =
      order === 'first-second' ? ([first, second] as const) : ([second, first] as const);
    const question: Question<readonly [number, number]> = {
      evaluator: this.name,
      about: query,
      messages: pairMessages({ query, core, shown }, this.options.rubric),
      format: PAIR_SCHEMA,
      reminder: PAIR_FORMAT,
      parse: parsePair,
    };
    const asked = await this.chat.ask(question, options);
    if (asked.status === 'failed') return { ...asked, order };
    const [a, b] = asked.value;
    return {
      status: 'judged',
      order,
      first: order === 'first-second' ? a : b,
      second: order === 'first-second' ? b : a,
      provenance: asked.provenance,
    };
  }
}

/** Depends on the seed and the pair alone, not on the pairs before it. */
function askingOrder({ query, first, second }: Pair, seed: number): [ShownOrder, ShownOrder] {
  const text = JSON.stringify([seed, query, first, second]);
  const odd = (createHash('sha256').update(text).digest()[0]! & 1) === 1;
  return odd ? ['second-first', 'first-second'] : ['first-second', 'second-first'];
}
