import { SdaError } from '../errors.js';
import type { Choice } from '../method/rule.js';
import { type Running, samePrompts } from './running.js';

/** A query and the token that has been drawn for it. */
interface DrawnFor {
  readonly query: Running;
  readonly choice: Choice;
}

/**
 * Lets queries go on with the texts of others, where their choices say so: their rows get what the others' hold, and the
 * tokens before the newest are those of the others.
 *
 * @param drawn one step of queries, before its tokens are added to them
 * @param running those that take part in the next step; the others no longer need what is in rows
 * @returns the queries for which that could not be
 */
export function fork(
  drawn: readonly DrawnFor[],
  running: readonly Running[],
): { readonly query: Running; readonly error: unknown }[] {
  const failed: { query: Running; error: unknown }[] = [];
  for (const { query, choice } of drawn) {
    if (choice.continues === undefined || choice.continues === query.index) continue;
    try {
      const from = parentOf(query, choice.continues, drawn);
      query.drawn.splice(0, query.drawn.length, ...from.drawn);
      if (running.includes(query)) copyRows(from, query);
    } catch (error) {
      failed.push({ query, error });
    }
  }
  return failed;
}

/** @throws SdaError `bad-input` for a query that cannot be gone on with */
function parentOf(query: Running, index: number, drawn: readonly DrawnFor[]): Running {
  const parent = drawn.find((each) => each.query.index === index);
  const { continues = index } = parent?.choice ?? {};
  if (
    parent &&
    continues === index &&
    samePrompts(query, parent.query) &&
    parent.query.steps === query.steps
  )
    return parent.query;
  throw new SdaError(
    'bad-input',
    `The rule lets query ${query.index} go on with the text of query ${index}, which must be of the same step, have the same prompts and as many tokens, and go on with its own text.`,
  );
}

function copyRows(from: Running, to: Running): void {
  const run = from.steps - 1; // the newest token has not been run
  from.seats.forEach(({ of, rows, streams }, seat) => {
    rows.forEach((row, index) => {
      of.cache.copyRow(row, to.seats[seat]!.rows[index]!, from.lengths[streams[index]!]! + run);
    });
  });
}
