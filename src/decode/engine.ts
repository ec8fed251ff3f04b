import type { Choice } from '../method/rule.js';
import type { DecoderModel } from '../model/decoder.js';
import { onGpu } from '../runtime/backend.js';
import { Admission, type Waiting } from './admission.js';
import { withPlace } from './diagnose.js';
import type { DecodeEvent, DecodeFailure } from './event.js';
import { fork } from './fork.js';
import { ModelRows, type ModelRowsOptions, type Room } from './model-rows.js';
import { LEAST_TOKENS, type Pace } from './pace.js';
import { tokensOf } from './prompt-chunk.js';
import { limitOf, type Running } from './running.js';
import { StepDraw } from './step-draw.js';
import { StepLogits } from './step-logits.js';
import { tapsOf } from './taps.js';

/** What an engine runs with. */
export interface EngineOptions {
  /** The models that run streams, and the room that each has */
  readonly models: ReadonlyMap<DecoderModel, Room & ModelRowsOptions>;
  /** Queries that run at once */
  readonly places: number;
  /** Begin the next step before the tokens of this one are read; default: on a GPU */
  readonly readBehind?: boolean | undefined;
  /** How fast prompts come in beside running queries; default: all for which there is room, before the next step */
  readonly pace?: Pace | undefined;
  /** Waited for before each forward, so that others can run; what it throws ends the turn */
  readonly breathe: () => Promise<void>;
}

/** What became of a query in a step. */
export type Outcome = DecodeEvent<Choice> | DecodeFailure;

/**
 * Queries that come and go, each with its own rule, prompts, settings and end. A turn is one forward of each model for all
 * streams of all running queries, prompts of new ones beside it, one step of each rule, one token a query.
 *
 * On the CPU the logits of a query are the same to the bit whatever runs beside it, and so is its text; on a GPU they are
 * the same up to rounding.
 */
export class Engine {
  private readonly models = new Map<DecoderModel, ModelRows>();
  private readonly admission: Admission;
  private running: Running[] = []; // those that take part in the next step
  private readonly told = new Set<Running>(); // those whose state a rule keeps
  private readonly cancelled = new Set<number>();
  private readonly unread: StepDraw[] = [];

  /** @throws what TensorFlow throws where memory runs out; then nothing stays on the device */
  constructor(private readonly options: EngineOptions) {
    this.admission = new Admission((model) => this.models.get(model)!, options.places);
    try {
      for (const [model, room] of options.models) {
        this.models.set(model, new ModelRows(model, room, room));
      }
    } catch (error) {
      this.dispose();
      throw error;
    }
  }

  /**
   * Lets a query wait for its turn. Its models must be those of the engine, and have rows for all its streams.
   *
   * @throws SdaError `bad-input` for a tap that is not there
   */
  add(asked: Omit<Waiting, 'taps'>): void {
    this.admission.add({ ...asked, taps: tapsOf(asked) });
  }

  /** Ends a query before the next turn, wherever it is; nothing more is heard of it. */
  cancel(index: number): void {
    this.cancelled.add(index);
  }

  /** Whether there is anything left to do. */
  get busy(): boolean {
    return this.running.length > 0 || this.unread.length > 0 || this.admission.count > 0;
  }

  /** Queries that have not begun, and those that have. */
  get load(): { readonly waiting: number; readonly running: number } {
    return { waiting: this.admission.count, running: this.told.size };
  }

  /**
   * One step of all running queries.
   *
   * @returns what became of them, a list for each step that was read: none, or several
   * @throws where a forward of running queries fails: then none of them can go on
   */
  async turn(): Promise<Outcome[][]> {
    const { pace } = this.options;
    const since = performance.now();
    this.drop();
    const steps = this.running.length;
    const budget = pace ? pace.next(steps) : Number.POSITIVE_INFINITY;
    const outcomes: Outcome[][] = [];
    const logits = new StepLogits();
    let tokens = 0;
    try {
      if (steps > 0) tokens = await this.forward(logits, pace ? budget : 0, outcomes);
      if (tokens === 0) tokens = await this.bringIn(logits, budget, outcomes);
      if (this.running.length > 0) await this.draw(logits, outcomes);
    } finally {
      logits.dispose();
    }
    const { readBehind = onGpu() } = this.options;
    // asked again after each step: the one just read may have ended all that went on
    this.settle(outcomes, () =>
      readBehind && this.running.length > 0 && this.unread.at(-1)!.onDevice ? 1 : 0,
    );
    if (steps > 0) pace?.took(performance.now() - since, tokens);
    return outcomes;
  }

  /** Ends what has been cancelled. */
  private drop(): void {
    if (this.cancelled.size === 0) return;
    this.admission.cancel(this.cancelled);
    for (const query of [...this.told]) if (this.cancelled.has(query.index)) this.end(query);
    this.cancelled.clear();
  }

  /**
   * A forward of each model for all running queries, where possible with a chunk of the prompts that come in.
   *
   * @param most tokens of the chunk
   * @returns how many it had: 0 where none has come in
   */
  private async forward(logits: StepLogits, most: number, outcomes: Outcome[][]): Promise<number> {
    await this.options.breathe();
    const before = this.unread.at(-1);
    const { of, prompts } = this.seated(most) ? this.admission.incoming : {};
    for (const rows of this.models.values()) {
      if (rows !== of) rows.forward(this.running, before, logits);
    }
    const chunk = prompts?.next(most);
    const read = of?.forward(this.running, before, logits, chunk);
    if (read === undefined) return 0;
    this.comesIn(() => prompts!.ran(chunk!, read), logits, outcomes);
    return tokensOf(chunk!);
  }

  /** Runs prompts of queries that have not begun: beside running ones, one chunk at a pace. @returns how many tokens of them */
  private async bringIn(logits: StepLogits, most: number, outcomes: Outcome[][]): Promise<number> {
    const disturbing = this.options.pace !== undefined && this.running.length > 0;
    let tokens = 0;
    while (this.seated(most - tokens)) {
      await this.options.breathe();
      if (!this.seated(most - tokens)) break; // it has been cancelled meanwhile, and none is behind it
      const { of, prompts } = this.admission.incoming;
      const run = () => {
        const chunk = prompts.next(most - tokens);
        tokens += Math.max(LEAST_TOKENS, tokensOf(chunk));
        prompts.ran(chunk, of.bringIn(chunk));
      };
      this.comesIn(run, logits, outcomes);
      if (disturbing) break; // a chunk has a price of its own, however short it is
    }
    return tokens;
  }

  /** Whether prompts are to come in, and the query that they are of has its rows. */
  private seated(most: number): boolean {
    if (this.admission.next && this.cancelled.has(this.admission.next.index)) {
      this.admission.cancel(this.cancelled);
    }
    return most >= LEAST_TOKENS && this.admission.seat();
  }

  /** Lets a chunk come in: queries whose prompts are in with it begin. A fault ends the one that they are of. */
  private comesIn(chunk: () => void, logits: StepLogits, outcomes: Outcome[][]): void {
    const { index } = this.admission.next!;
    try {
      chunk();
    } catch (error) {
      this.admission.giveUp();
      outcomes.push([{ query: index, error }]);
      return;
    }
    for (const query of this.admission.begin(logits)) this.begin(query, outcomes);
  }

  private begin(query: Running, outcomes: Outcome[][]): void {
    this.running.push(query);
    this.told.add(query);
    try {
      query.decoding.rule.begin?.(query.index, query.query.settings);
    } catch (error) {
      outcomes.push(this.fail([query], error));
    }
  }

  private async draw(logits: StepLogits, outcomes: Outcome[][]): Promise<void> {
    const { draw, failed } = await StepDraw.of(this.running, logits);
    if (failed.length > 0) {
      this.settle(outcomes, () => 0); // the step before is sound, and may end what this one failed at
      for (const { queries, error } of failed) {
        const some = queries.filter(({ over }) => !over);
        if (some.length > 0) outcomes.push(this.fail(some, error));
      }
    }
    this.unread.push(draw);
    for (const each of this.running) each.steps++;
    // their rows are free for others: what was drawn last is never run
    for (const each of this.running)
      if (limitOf(each, each.steps) !== null) this.admission.leave(each);
    this.running = this.running.filter((each) => limitOf(each, each.steps) === null);
  }

  /** Reads the tokens of all steps but the newest `kept()` ones. */
  private settle(outcomes: Outcome[][], kept: () => number): void {
    while (this.unread.length > 0 && this.unread.length > kept()) {
      const read = this.read(this.unread[0]!);
      this.unread.shift()!.dispose();
      if (read.length > 0) outcomes.push(read);
    }
  }

  private read(draw: StepDraw): Outcome[] {
    const read: Outcome[] = [];
    const drawn: { readonly query: Running; readonly choice: Choice }[] = [];
    for (const { query, choice } of draw.choices()) {
      if (query.over) continue;
      try {
        drawn.push({ query, choice: choice() });
      } catch (error) {
        read.push(...this.fail([query], error));
      }
    }
    for (const { query, error } of fork(drawn, this.running)) {
      read.push(...this.fail([query], error));
    }
    for (const { query, choice } of drawn) {
      if (query.over) continue;
      try {
        const event = take(query, choice);
        read.push(event);
        if (event.finishReason !== null) this.end(query);
      } catch (error) {
        read.push(...this.fail([query], error));
      }
    }
    return read;
  }

  private fail(queries: readonly Running[], error: unknown): DecodeFailure[] {
    const explained = withPlace(error, queries);
    for (const query of queries) this.end(query);
    return queries.map(({ index }) => ({ query: index, error: explained }));
  }

  private end(query: Running): void {
    query.over = true;
    this.running = this.running.filter((each) => each !== query);
    this.admission.leave(query);
    if (this.told.delete(query)) query.decoding.rule.end?.(query.index);
  }

  /** Ends all queries that have begun, and the one on its way, such as after a forward that failed. @returns their numbers */
  giveUp(): number[] {
    const queries = [...this.told];
    const { next } = this.admission;
    for (const query of queries) this.end(query);
    this.admission.giveUp();
    for (const step of this.unread.splice(0)) step.dispose();
    return [...queries, ...(next ? [next] : [])].map(({ index }) => index);
  }

  /** Ends everything, and frees all that is on the device. */
  dispose(): void {
    this.giveUp();
    for (const rows of this.models.values()) rows.dispose();
    this.models.clear();
  }
}

/** Adds a drawn token to its query. */
function take(each: Running, choice: Choice): DecodeEvent<Choice> {
  const { index, drawn, begun, decoding } = each;
  drawn.push(choice.id);
  const now = performance.now();
  if (drawn.length === 1) each.firstTokenAt = now;
  const timing = { prefillMs: each.firstTokenAt - begun, decodeMs: now - each.firstTokenAt };
  const stops = decoding.stopIds.has(choice.id) || (decoding.finished?.(index, choice) ?? false);
  return {
    query: index,
    choice,
    finishReason: stops ? 'stop' : limitOf(each, drawn.length),
    timing,
  };
}
