import { z } from 'zod';
import {
  type Method,
  type Pairing,
  type Response,
  ROW_SCHEMA,
  type Row,
  type RowFailure,
  type Score,
  type Verdict,
} from './rows.js';

// What each stage's file holds: as rows.ts says, checked when a file is read back.

const number = z.number();
const column = z.array(number.nullable());
const columns = z.record(z.string(), column);

export const responseSchema: z.ZodType<Response> = z.looseObject({
  text: z.string(),
  thinking: z.string(),
  answer: z.string(),
  finishReason: z.enum(['stop', 'length', 'context', 'aborted']),
  tokens: number,
  promptTokens: z.record(z.string(), number),
  seed: number,
  a: number.nullable(),
  trace: z
    .union([
      z.object({
        text: z.array(z.string()),
        js: column,
        temperature: column,
        logpBase: column,
        logpInstructed: column,
        logp: column,
      }),
      z.object({ text: z.array(z.string()), logp: column, logps: columns, statistics: columns }),
    ])
    .nullable(),
  rule: z.string().optional(),
  settings: z.record(z.string(), z.unknown()).optional(),
});

export const scoreSchema: z.ZodType<Score> = z.looseObject({
  score: number.min(0).max(100),
  a: number,
  evaluator: z.string(),
  model: z.string().nullable(),
  rawAnswer: z.string().nullable(),
});

export const verdictSchema: z.ZodType<Verdict> = z.looseObject({
  winner: z.enum(['method', 'base', 'tie']),
  method: number.min(0).max(100),
  base: number.min(0).max(100),
  consistent: z.boolean(),
  judge: z.string(),
  model: z.string().nullable(),
});

/** Names of the stages, which are those of their files. */
export const respondStage = (method: Method) => `respond-${method}`;
export const SCORE_STAGE = 'score';
export const judgeStage = (pairing: Pairing) => `judge-${pairingName(pairing)}`;

/** Such as "sda" (against base) and "sda-vs-steering". */
export function pairingName({ method, against }: Pairing): string {
  return against === 'base' ? method : `${method}-vs-${against}`;
}

export function doneRow<T>(item: string, value: T): Row<T> {
  return { schema: ROW_SCHEMA, item, status: 'done', value };
}

export function failedRow(item: string, failure: RowFailure): Row<never> {
  return { schema: ROW_SCHEMA, item, status: 'failed', failure };
}

/** Failures that trying again does not mend: everything they come from is fixed by the configuration. */
const LASTING: ReadonlySet<RowFailure['kind']> = new Set([
  'unfinished-thinking',
  'bad-prompt',
  'unusable',
]);

/** Whether a stage has nothing left to do for an item. */
export function isSettled(row: Row<unknown> | undefined): boolean {
  return row?.status === 'done' || (row?.status === 'failed' && LASTING.has(row.failure.kind));
}
