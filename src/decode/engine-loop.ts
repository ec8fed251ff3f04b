import { onAbort } from '../abort.js';
import { SdaError } from '../errors.js';
import type { Choice, StepRule } from '../method/rule.js';
import { type BeamOptions, BeamSearch, type BeamText } from './beam-search.js';
import { Engine, type EngineOptions, type Outcome } from './engine.js';
import type { DecodeEvent } from './event.js';
import type { GivenLogProbs } from './given-tokens.js';
import { Mailbox } from './mailbox.js';
import type { Decoding, Query } from './running.js';

export interface EngineLoopOptions extends Omit<EngineOptions, 'breathe'> {
  /** Queries that may wait beyond those that run; another is refused */
  readonly maxWaiting: number;
}

/** What is told of a query while it is decoded. */
interface Listener {
  readonly events: (events: DecodeEvent<Choice>) => void;
  readonly failed: (error: unknown) => void;
}

/**
 * An engine that runs while there is anything to do, for callers that come and go by themselves. Nothing is lost where one
 * query fails: the others go on.
 */
export class EngineLoop {
  private readonly engine: Engine;
  private readonly listeners = new Map<number, Listener>();
  private count = 0;
  private under: Promise<void> | undefined;
  private closing = false;

  /** @throws what TensorFlow throws where memory runs out */
  constructor(private readonly options: EngineLoopOptions) {
    const breathe = () => new Promise<void>((resolve) => setImmediate(resolve));
    this.engine = new Engine({ ...options, breathe });
  }

  /** Queries that have not begun, and those that have. */
  get load(): Engine['load'] {
    return this.engine.load;
  }

  /**
   * Refuses work that there is no room for.
   *
   * @param queries how many are to come at once
   * @throws SdaError `busy` where too many wait, or the engine is closing
   */
  admit(queries = 1): void {
    const { places, maxWaiting } = this.options;
    if (this.closing) {
      throw new SdaError(
        'busy',
        'The engine takes nothing more, since it is closing: ask again later.',
      );
    }
    const { waiting, running } = this.engine.load;
    if (waiting + running + queries <= places + maxWaiting) return;
    throw new SdaError(
      'busy',
      `${running} queries run and ${waiting} wait, of at most ${places} and ${maxWaiting}: ask again later, or for fewer answers at once.`,
    );
  }

  /**
   * Lets a query wait for its turn. It is cancelled where the reader leaves, or the signal fires: then it just ends.
   *
   * @param together how many queries with the same prompts, this one and the next ones, are to begin in the same step
   * @returns its events as they come; they throw what the query fails at
   * @throws SdaError `busy` (see `admit`), `bad-input` for taps and what the rule has against settings or streams
   */
  decode<S, C extends Choice>(
    query: Query<S>,
    decoding: Decoding<S, C>,
    signal?: AbortSignal,
    together = 1,
  ): AsyncGenerator<DecodeEvent<C>, void> {
    this.admit();
    const index = this.count++;
    const { rule, names } = decoding;
    rule.check?.(index, query.settings, { count: query.streams.length, names });
    const told = new Mailbox<DecodeEvent<Choice>>();
    const stop = () => {
      this.engine.cancel(index);
      told.end();
      over();
    };
    let leave = () => {};
    const over = () => {
      leave();
      return this.listeners.delete(index);
    };
    this.listeners.set(index, {
      events: (event) => {
        told.put(event, event.finishReason !== null);
        if (event.finishReason !== null) over();
      },
      failed: (error) => {
        told.fail(error);
        over();
      },
    });
    try {
      this.engine.add({ index, query, decoding: decoding as unknown as Decoding, together });
    } catch (error) {
      over();
      throw error;
    }
    leave = onAbort(signal, stop);
    this.run();
    return this.read(told as unknown as Mailbox<DecodeEvent<C>>, () => {
      if (over()) this.engine.cancel(index);
    });
  }

  private async *read<T>(told: Mailbox<T>, left: () => void): AsyncGenerator<T, void> {
    try {
      yield* told;
    } finally {
      left();
    }
  }

  /**
   * How likely given tokens are, each after those before it.
   *
   * @param top likeliest tokens that are told beside each token
   * @throws SdaError `busy` (see `admit`), `bad-logits`; `aborted` by the signal
   */
  given(
    ids: readonly number[],
    {
      models,
      top,
      signal,
    }: Pick<Decoding, 'models'> & { top: number; signal?: AbortSignal | undefined },
  ): Promise<GivenLogProbs> {
    this.admit();
    const index = this.count++;
    return new Promise((resolve, reject) => {
      let leave = () => {};
      const aborted = () => {
        this.engine.cancel(index);
        settled();
        reject(
          new SdaError('aborted', 'The tokens were not looked at to their end: the caller left.'),
        );
      };
      const settled = () => {
        leave();
        this.listeners.delete(index);
      };
      const failed = (error: unknown) => {
        settled();
        reject(error);
      };
      leave = onAbort(signal, aborted);
      if (signal?.aborted) return;
      this.listeners.set(index, { events: () => {}, failed });
      const done = (found: GivenLogProbs) => {
        settled();
        resolve(found);
      };
      this.engine.add({
        index,
        query: { streams: [ids], settings: {}, seed: 0, maxTokens: 1 },
        decoding: { rule: () => [], models, stopIds: new Set(), maxContext: ids.length },
        given: { top, done },
      });
      this.run();
    });
  }

  /**
   * The likeliest texts after a prompt that beam search finds, see `BeamSearch`; each beam is a query.
   *
   * @returns the best first, at most as many as there are beams
   * @throws SdaError `busy` (see `admit`), `bad-input` for more beams than places, `bad-logits`; `aborted` by the signal
   */
  async beams(
    ids: readonly number[],
    options: BeamOptions & Pick<Decoding, 'models' | 'maxContext'>,
    signal?: AbortSignal,
  ): Promise<readonly BeamText[]> {
    const { beams, models, maxContext } = options;
    if (!Number.isInteger(beams) || beams < 1 || beams > this.options.places) {
      throw new SdaError(
        'bad-input',
        `beams must be a whole number in 1..${this.options.places}, the places of the engine, but is ${beams}.`,
      );
    }
    this.admit(beams);
    const maxTokens = Math.min(options.maxTokens, maxContext - ids.length);
    const search = new BeamSearch({ ...options, maxTokens });
    const decoding: Decoding = {
      rule: search.rule as StepRule<unknown>,
      models,
      stopIds: new Set(),
      maxContext,
      finished: () => search.done,
    };
    const query = { streams: [ids], settings: {}, seed: 0, maxTokens };
    const failed = new AbortController();
    const either = signal ? AbortSignal.any([signal, failed.signal]) : failed.signal;
    try {
      const each = Array.from({ length: beams }, (_, beam) =>
        this.decode(query, decoding, either, beam === 0 ? beams : 1),
      );
      await Promise.all(each.map(ended));
    } catch (error) {
      failed.abort();
      throw error;
    }
    if (signal?.aborted) {
      throw new SdaError('aborted', 'The beams were not searched to their end: the caller left.');
    }
    return search.found;
  }

  /** Takes nothing more, ends what runs and waits for it, and frees all that is on the device. */
  async close(): Promise<void> {
    this.closing = true;
    while (this.under) await this.under;
    this.engine.dispose();
  }

  private run(): void {
    this.under ??= this.turns().finally(() => {
      this.under = undefined;
    });
  }

  private async turns(): Promise<void> {
    await null; // whoever asks for several queries at once asks for all of them first
    while (this.engine.busy) {
      try {
        for (const each of (await this.engine.turn()).flat()) this.tell(each);
      } catch (error) {
        for (const index of this.engine.giveUp()) this.tell({ query: index, error });
      }
    }
  }

  private tell(outcome: Outcome): void {
    const listener = this.listeners.get(outcome.query);
    if (!listener) return;
    if ('error' in outcome) listener.failed(outcome.error);
    else listener.events(outcome);
  }
}

async function ended(events: AsyncIterable<unknown>): Promise<void> {
  for await (const _ of events);
}
