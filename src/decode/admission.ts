import type { Tap } from '../method/taps.js';
import type { GivenLogProbs, GivenTokens } from './given-tokens.js';
import type { ModelRows, PromptArrival } from './model-rows.js';
import type { Incoming } from './prompt-chunk.js';
import {
  type Decoding,
  type Query,
  type Running,
  type Seat,
  sameIds,
  samePrompts,
  start,
} from './running.js';
import type { StepLogits } from './step-logits.js';
import { layersRead } from './taps.js';

/** A query that waits for its rows. */
export interface Waiting {
  /** The caller's number of it; no other that waits or runs has the same */
  readonly index: number;
  readonly query: Query<unknown>;
  readonly decoding: Decoding;
  /** What its rule reads inside its models, see `tapsOf` */
  readonly taps: readonly Tap[];
  /** No text is wanted, but how likely the tokens of the one prompt are. */
  readonly given?: GivenRequest | undefined;
  /** How many queries with the same prompts, this one and those behind it, are to begin in the same step; default 1 */
  readonly together?: number | undefined;
}

export interface GivenRequest {
  /** Likeliest tokens that are told beside each token */
  readonly top: number;
  readonly done: (found: GivenLogProbs) => void;
}

/** A query with rows, whose prompts come in. */
interface Arriving {
  readonly asked: Waiting;
  readonly seats: readonly Seat[];
  readonly parts: readonly (PromptArrival & { readonly of: ModelRows })[];
  readonly given: GivenTokens | undefined;
  readonly since: number;
}

/**
 * Brings queries in, in the order in which they came: gives each its rows, runs its prompts chunk by chunk, and takes the
 * rows back. Queries with the same prompts that wait next to each other share one run of them.
 */
export class Admission {
  private readonly waiting: Waiting[] = [];
  private arriving: Arriving | undefined;
  private readonly taken = new Set<Running>();

  /** @param places queries that have rows at once */
  constructor(
    private readonly rowsOf: (model: Decoding['models'][number]) => ModelRows,
    private readonly places: number,
  ) {}

  add(asked: Waiting): void {
    this.waiting.push(asked);
  }

  /** Queries that have not begun. */
  get count(): number {
    return this.waiting.length + (this.arriving ? 1 : 0);
  }

  /** The query whose prompts come in. */
  get next(): Waiting | undefined {
    return this.arriving?.asked;
  }

  /** Forgets queries that have not begun. */
  cancel(indices: ReadonlySet<number>): void {
    const rest = this.waiting.filter(({ index }) => !indices.has(index));
    this.waiting.splice(0, this.waiting.length, ...rest);
    if (this.arriving && indices.has(this.arriving.asked.index)) this.giveUp();
  }

  /** Gives the next query its rows, unless one is on its way. @returns whether one is now */
  seat(): boolean {
    const [asked] = this.waiting;
    if (this.arriving) return true;
    if (!asked || this.taken.size + (asked.together ?? 1) > this.places) return false;
    const arriving = this.seated(asked);
    if (!arriving) return false;
    this.waiting.shift();
    this.arriving = arriving;
    return true;
  }

  private seated(asked: Waiting): Arriving | null {
    const { models } = asked.decoding;
    const seats: Seat[] = [];
    const parts: Arriving['parts'][number][] = [];
    for (const model of new Set(models)) {
      const of = this.rowsOf(model);
      const streams = [...models.keys()].filter((stream) => models[stream] === model);
      const prompts = streams.map((stream) => asked.query.streams[stream]!);
      const hasRoom = of.pool.free >= prompts.length * (asked.together ?? 1);
      const found =
        hasRoom &&
        of.seat(prompts, streams, {
          taps: layersRead([asked], model),
          reuse: asked.given ? false : undefined,
        });
      if (!found) {
        for (const seat of seats) seat.of.leave(seat);
        return null;
      }
      seats.push(found.seat);
      parts.push(...found.arrivals.map((arrival) => ({ ...arrival, of })));
    }
    const given = asked.given && seats[0]!.of.given(seats[0]!, asked.query, asked.given.top);
    return { asked, seats, parts, given, since: performance.now() };
  }

  /** What comes in next of the query that is on its way, and what runs it. */
  get incoming(): { readonly of: ModelRows; readonly prompts: Incoming } {
    const { seats, parts, given } = this.arriving!;
    if (given) return { of: seats[0]!.of, prompts: given };
    const { of, prefill } = parts.find((part) => !part.prefill.logits)!;
    return { of, prompts: prefill };
  }

  /**
   * The query that was on its way, if its prompts are in, and those behind it with the same prompts: they take part in the
   * next step, for which their logits go to `logits`.
   */
  begin(logits: StepLogits): Running[] {
    const { arriving } = this;
    if (arriving?.given?.result) {
      this.giveUp();
      arriving.asked.given!.done(arriving.given.result);
    }
    if (!this.arriving || this.arriving.parts.some(({ prefill }) => !prefill.logits)) return [];
    const { asked, seats, parts, since } = this.arriving;
    this.arriving = undefined;
    const first = start(asked, seats, since);
    this.taken.add(first);
    for (const { prefill, streams, of } of parts) {
      const owners = streams.map((stream) => ({ owner: first, stream }));
      logits.add(of, owners, { lines: prefill.logits!, taps: layersRead([first], of.model) });
    }
    for (const seat of seats) seat.of.note(seat, first, []);
    const begun = [first];
    for (let copy = this.copy(first); copy; copy = this.copy(first)) {
      logits.share(first, copy);
      begun.push(copy);
    }
    return begun;
  }

  /** The next query, if it has the prompts of one whose prompts have just come in, and there is room for it. */
  private copy(first: Running): Running | undefined {
    const [asked] = this.waiting;
    if (!asked || asked.given || this.taken.size >= this.places) return undefined;
    if (!samePrompts(asked, first) || !sameLayers(asked, first)) return undefined;
    const seats: Seat[] = [];
    for (const seat of first.seats) {
      const copied = seat.of.copy(seat, asked);
      if (!copied) {
        for (const each of seats) each.of.leave(each);
        return undefined;
      }
      seats.push(copied);
    }
    this.waiting.shift();
    const copy = start(asked, seats, first.begun);
    this.taken.add(copy);
    for (const seat of seats) seat.of.note(seat, copy, []);
    return copy;
  }

  /** Takes back the rows of a query that is over; they keep what they hold. */
  leave(query: Running): void {
    if (!this.taken.delete(query)) return;
    // the newest token has not been run
    const run = query.drawn.slice(0, Math.max(0, query.steps - 1));
    for (const seat of query.seats) {
      seat.of.note(seat, query, run);
      seat.of.leave(seat);
    }
  }

  /** Takes back the rows of the query that is on its way. */
  giveUp(): void {
    if (!this.arriving) return;
    const { seats, parts } = this.arriving;
    this.arriving = undefined;
    for (const { prefill } of parts) prefill.logits?.dispose();
    for (const seat of seats) seat.of.leave(seat);
  }
}

/** Whether what was read of one while its prompts came in is what the other reads. */
function sameLayers(asked: Waiting, first: Running): boolean {
  return asked.decoding.models.every((model) =>
    sameIds(layersRead([asked], model), layersRead([first], model)),
  );
}
