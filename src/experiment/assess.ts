import pLimit from 'p-limit';
import { SdaError } from '../errors.js';
import type { PairJudge } from '../evaluate/judge.js';
import type { Evaluator, FailureKind } from '../evaluate/types.js';
import { amplify } from '../method/amplification.js';
import type { ExperimentConfig } from './config.js';
import type { Item, Method, Pairing, Response, Row, RowFailure, Score, Verdict } from './rows.js';
import { doneRow, failedRow } from './stages.js';

type Responses = ReadonlyMap<string, Row<Response>>;

interface Assessing<T> {
  readonly config: ExperimentConfig;
  readonly items: readonly Item[];
  readonly signal?: AbortSignal | undefined;
  readonly onRow: (row: Row<T>) => void;
}

/** Scores base responses: S, and a = F(S). What the evaluator cannot score becomes a failed row. */
export async function scoreAll(
  evaluator: Evaluator,
  base: Responses,
  { config, items, signal, onRow }: Assessing<Score>,
  concurrency: number,
): Promise<void> {
  await each(items, concurrency, signal, async ({ id, query }) => {
    const response = base.get(id);
    if (response?.status !== 'done') return onRow(failedRow(id, missing('base', response)));
    const { answer, thinking } = response.value;
    const { core } = config;
    const input = { id, query, response: answer, thinking, core };
    const scored = await evaluator.score(input, { signal });
    if (scored.status === 'failed') return onRowUnlessStopped(id, scored, onRow);
    const { score, provenance } = scored;
    try {
      const a = amplify(score, config.decoding.amplification);
      const { evaluator: name, model, rawAnswer } = provenance;
      onRow(doneRow(id, { score, a, evaluator: name, model, rawAnswer }));
    } catch (error) {
      if (!(error instanceof SdaError) || error.code !== 'bad-input') throw error;
      onRow(failedRow(id, { kind: 'unusable', reason: error.message }));
    }
  });
}

/** Judges each response of a method against that of another, which mostly is base. */
export async function judgeAll(
  judge: PairJudge,
  { method, against }: Pairing,
  responses: ReadonlyMap<Method, Responses>,
  { config, items, signal, onRow }: Assessing<Verdict>,
): Promise<void> {
  await each(items, judge.chat.settings.concurrency, signal, async ({ id, query }) => {
    const [ours, theirs] = [responses.get(method)?.get(id), responses.get(against)?.get(id)];
    if (theirs?.status !== 'done') return onRow(failedRow(id, missing(against, theirs)));
    if (ours?.status !== 'done') return onRow(failedRow(id, missing(method, ours)));
    const [first, second] = [ours.value.answer, theirs.value.answer];
    const result = await judge.judge({ query, core: config.core, first, second }, { signal });
    if (result.status === 'failed') return onRowUnlessStopped(id, result, onRow);
    onRow(
      doneRow(id, {
        winner: ({ first: 'method', second: 'base', tie: 'tie' } as const)[result.winner],
        method: result.first,
        base: result.second,
        consistent: result.consistent,
        judge: judge.name,
        model: judge.chat.settings.model,
      }),
    );
  });
}

/** What the server says of every request: no use to go on before someone changes something. */
export class Rejected extends SdaError {
  constructor(reason: string) {
    super('runtime', reason);
  }
}

function onRowUnlessStopped(
  item: string,
  { kind, reason }: { kind: FailureKind; reason: string },
  onRow: (row: Row<never>) => void,
): void {
  if (kind === 'aborted') return;
  if (kind === 'rejected') throw new Rejected(reason);
  onRow(failedRow(item, { kind, reason }));
}

function missing(method: Method, row: Row<Response> | undefined): RowFailure {
  const failure = row?.status === 'failed' ? row.failure : undefined;
  return {
    kind: failure?.kind === 'no-score' ? 'no-score' : 'no-answer',
    reason: `There is no response of ${method}: ${failure?.reason ?? 'it was not decoded.'}`,
  };
}

/** Runs `work` for all items, a few at a time; after an error or an abort no more begin. */
async function each(
  items: readonly Item[],
  concurrency: number,
  signal: AbortSignal | undefined,
  work: (item: Item) => Promise<void>,
): Promise<void> {
  const limit = pLimit(concurrency);
  let failed = false;
  const results = await Promise.allSettled(
    items.map((item) =>
      limit(async () => {
        if (failed || signal?.aborted) return;
        try {
          await work(item);
        } catch (error) {
          failed = true;
          throw error;
        }
      }),
    ),
  );
  const first = results.find((result) => result.status === 'rejected');
  if (first) throw first.reason;
}
