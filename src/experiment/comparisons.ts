import { type JudgedPair, type WinRates, winRates } from '../evaluate/win-rates.js';
import { mean, wordCount } from './measures.js';
import type { Method, Pairing, Response, Row, RunData, Verdict } from './rows.js';
import { pairingName } from './stages.js';

export interface Lengths {
  readonly method: number | null;
  /** Of the side that the method is measured against */
  readonly base: number | null;
}

/**
 * One method against the base model or another method. The rates are over the items that all comparisons of the run
 * have a verdict on, so that their numbers can be compared; `leftOut` counts the verdicts on other items, by what is
 * lacking there, such as "no-score of steering". Judged, failed, left out and pending add up to all items.
 */
export interface Comparison extends Pairing {
  /** Whatever the base response is */
  readonly full: WinRates;
  /** Without the items whose base response is gibberish */
  readonly refined: WinRates;
  /** Items without a row yet */
  readonly pending: number;
  /** Mean lengths of both sides in words, over the items of the rates; null where there is none */
  readonly words: Lengths;
  /** Likewise in tokens, thinking included; a correction counts the tokens of the model that corrects */
  readonly tokens: Lengths;
}

/** A comparison that has begun. */
interface Begun {
  readonly pairing: Pairing;
  readonly rows: ReadonlyMap<string, Row<Verdict>>;
}

/** The comparisons of a run that have begun, in the order of its header. */
export function compareAll(run: RunData, gibberish: ReadonlySet<string>): Comparison[] {
  const lacking = lackingItems(run);
  return begunOf(run).map(({ pairing, rows }) => {
    const pairs = run.items.flatMap(({ id }) => pairOf(rows.get(id), lacking.get(id)) ?? []);
    const judged = pairs.flatMap(({ status, item }) => (status === 'judged' ? [item] : []));
    return {
      ...pairing,
      full: winRates(pairs),
      refined: winRates(pairs.filter(({ item }) => !gibberish.has(item))),
      pending: run.items.length - pairs.length,
      words: lengths(run, pairing, judged, ({ answer }) => wordCount(answer)),
      tokens: lengths(run, pairing, judged, ({ tokens }) => tokens),
    };
  });
}

/**
 * Items that some comparison has no verdict on, each with what is lacking. A comparison without a single verdict has
 * no number that others could be compared with: it takes no item from them.
 */
export function lackingItems(run: RunData): ReadonlyMap<string, string> {
  const binding = begunOf(run).filter(({ rows }) =>
    [...rows.values()].some(({ status }) => status === 'done'),
  );
  const lacking = new Map<string, string>();
  for (const { id } of run.items) {
    const first = binding.find(({ rows }) => rows.get(id)?.status !== 'done');
    if (!first) continue;
    const row = first.rows.get(id);
    const kind = row?.status === 'failed' ? row.failure.kind : 'pending';
    lacking.set(id, `${kind} of ${pairingName(first.pairing)}`);
  }
  return lacking;
}

/** Items that every method with a response has one of: what means over responses are taken over. */
export function answeredByAll({ items, responses }: RunData): Set<string> {
  const begun = [...responses.values()].filter((rows) =>
    [...rows.values()].some(({ status }) => status === 'done'),
  );
  return new Set(
    items
      .map(({ id }) => id)
      .filter((id) => begun.every((rows) => rows.get(id)?.status === 'done')),
  );
}

function begunOf({ header, verdicts }: RunData): Begun[] {
  return header.comparisons.flatMap((pairing) => {
    const rows = verdicts.get(pairingName(pairing));
    return rows && rows.size > 0 ? [{ pairing, rows }] : [];
  });
}

function pairOf(row: Row<Verdict> | undefined, lacking: string | undefined): JudgedPair | null {
  if (!row) return null;
  const { item } = row;
  if (row.status === 'failed') return { status: 'failed', item, kind: row.failure.kind };
  if (lacking !== undefined) return { status: 'left-out', item, why: lacking };
  const { winner, method, base } = row.value;
  return { status: 'judged', item, winner, method, base };
}

function lengths(
  { responses }: RunData,
  { method, against }: Pairing,
  items: readonly string[],
  length: (response: Response) => number,
): Lengths {
  const ofSide = (side: Method) =>
    mean(
      items.flatMap((id) => {
        const row = responses.get(side)?.get(id);
        return row?.status === 'done' ? [length(row.value)] : [];
      }),
    );
  return { method: ofSide(method), base: ofSide(against) };
}
