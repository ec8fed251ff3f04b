import { type PairJudge, QUESTIONS_A_PAIR } from '../evaluate/judge.js';
import { judgeAll, Rejected } from './assess.js';
import type { ExperimentConfig } from './config.js';
import type { Method, Pairing, Response, Verdict } from './rows.js';
import type { Stage } from './stage.js';

/** What judging a number of pairs takes, as a sentence part. */
export function judgeQuestions(pairs: number): string {
  return `${QUESTIONS_A_PAIR * pairs} questions to the judge at most, ${pairs} pairs of responses in both orders; answers that cannot be read are asked for again`;
}

/** Verdicts, one comparison after the other, while the next method is decoded. */
export class Judging {
  /** What the server says of every request, where it refuses them */
  stopped: string | null = null;
  private work = Promise.resolve();

  constructor(
    private readonly judge: PairJudge | null,
    private readonly config: ExperimentConfig,
    private readonly responses: ReadonlyMap<Method, Stage<Response>>,
    private readonly signal: AbortSignal | undefined,
  ) {}

  add(pairing: Pairing, verdicts: Stage<Verdict>): void {
    const { judge, config, signal } = this;
    if (!judge) return;
    this.work = this.work.then(async () => {
      if (this.stopped !== null || signal?.aborted) return;
      const responses = new Map([...this.responses].map(([side, stage]) => [side, stage.rows()]));
      try {
        await verdicts.fill((items, onRow) =>
          judgeAll(judge, pairing, responses, { config, items, signal, onRow }),
        );
      } catch (error) {
        if (!(error instanceof Rejected)) throw error;
        this.stopped = error.message;
      }
    });
    this.work.catch(() => {}); // told by `end`
  }

  end(): Promise<void> {
    return this.work;
  }
}
