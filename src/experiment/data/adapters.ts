import type { Found } from './read.js';

/** How the rows of a data set become queries. */
export interface Adapter {
  /** Names of the field with the id, the first that is there counts; else the row's number is the id */
  readonly id: readonly string[];
  /** A row without the id is an error, rather than numbered */
  readonly requireId?: boolean;
  /** Names of the field with the query */
  readonly query: readonly string[];
  /** Label and the field it comes from */
  readonly labels: Readonly<Record<string, string>>;
  /** Makes a request of what the field holds */
  readonly wrap?: (text: string) => string;
  /** Takes the rows that are queries of their own */
  readonly select?: (rows: readonly Found[]) => Found[];
}

/**
 * The data sets of the paper, with the field names of their published files:
 * - `e-dialogue`: EmpatheticDialogues (Rashkin et al. 2019): `conv_id`, `utterance_idx`, `context` (the emotion),
 *   `prompt` (the situation), `speaker_idx`, `utterance`. A query is the first utterance of a conversation; a comma is
 *   written `_comma_` there.
 * - `dialogsum`: DialogSum (Chen et al. 2021): `id` (or `fname`), `dialogue`, `summary`, `topic`. The query asks for a
 *   summary.
 * - `beavertails`: BeaverTails (Ji et al. 2023): `prompt`, `response`, `category` (flags; in the evaluation set one
 *   name), `is_safe`. One prompt stands in many rows; it is one query.
 * - `harmfulqa`: HarmfulQA (Bhardwaj and Poria 2023): `id`, `topic`, `subtopic`, `question`.
 * - `truthfulqa`: TruthfulQA (Lin et al. 2022), generation: `type`, `category`, `question`; `Type`, `Category`,
 *   `Question` in the authors' table.
 *
 * Each also reads the query from `query`, so that files in this project's own form need no other name.
 */
export const ADAPTERS = {
  'e-dialogue': {
    id: ['conv_id', 'id'],
    query: ['utterance', 'prompt', 'query'],
    labels: { emotion: 'context' },
    wrap: (text) => text.replaceAll('_comma_', ','),
    select: (rows) => firstOfEach(rows, 'conv_id', 'utterance_idx'),
  },
  dialogsum: {
    id: ['id', 'fname'],
    query: ['dialogue', 'query'],
    labels: { topic: 'topic' },
    wrap: (text) => `Summarise the following dialogue in a few sentences.\n\n${text}`,
  },
  beavertails: {
    id: ['id'],
    query: ['prompt', 'query'],
    labels: { category: 'category' },
    select: (rows) => firstOfEach(rows, 'prompt'),
  },
  harmfulqa: {
    id: ['id'],
    query: ['question', 'query'],
    labels: { topic: 'topic', subtopic: 'subtopic' },
  },
  truthfulqa: {
    id: ['id'],
    query: ['question', 'Question', 'query'],
    labels: { category: 'category', type: 'type' },
  },
} as const satisfies Record<string, Adapter> as Readonly<Record<DataSetName, Adapter>>;

export type DataSetName = 'e-dialogue' | 'dialogsum' | 'beavertails' | 'harmfulqa' | 'truthfulqa';

/** One row for each value of `key`: the one with the lowest `order`, or the first. Rows without the key stay. */
function firstOfEach(rows: readonly Found[], key: string, order?: string): Found[] {
  const rank = ({ value }: Found) => (order === undefined ? 0 : Number(value[order] ?? 0));
  const best = new Map<unknown, Found>();
  for (const row of rows) {
    const group = row.value[key];
    if (group === undefined) continue;
    const earlier = best.get(group);
    if (!earlier || rank(row) < rank(earlier)) best.set(group, row);
  }
  const taken = new Set(best.values());
  return rows.filter((row) => row.value[key] === undefined || taken.has(row));
}
