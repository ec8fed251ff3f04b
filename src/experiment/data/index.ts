import { createHash } from 'node:crypto';
import { basename } from 'node:path';
import { uniformInt } from 'pure-rand/distribution/uniformInt';
import { xoroshiro128plus } from 'pure-rand/generator/xoroshiro128plus';
import { z } from 'zod';
import { SdaError } from '../../errors.js';
import { strict } from '../../evaluate/create.js';
import type { Item } from '../rows.js';
import { ADAPTERS, type Adapter, type DataSetName } from './adapters.js';
import { type Found, readObjects } from './read.js';

const whole = (least: number) => z.int().min(least);
const file = z.string().min(1);
const choice = {
  /** Leave out so many queries at the beginning */
  offset: whole(0).default(0),
  /** At most so many queries, in the order of the file ... */
  limit: whole(1).optional(),
  /** ... or so many drawn at random, the same ones for a seed; kept in the order of the file */
  sample: whole(1).optional(),
  sample_seed: whole(0).default(0),
};

const knownSchema = strict('data', {
  set: z.enum(Object.keys(ADAPTERS) as [DataSetName, ...DataSetName[]]),
  file,
  ...choice,
});

const ownSchema = strict('data', {
  file,
  /** The names of the file's own fields; dots reach into objects */
  fields: strict('fields', {
    id: z.string().optional(),
    query: z.string(),
    labels: z.array(z.string()).default([]),
  }),
  /** Put around each query, at its place `{query}` */
  template: z
    .string()
    .refine((text) => text.includes('{query}'), 'must have the place {query}')
    .optional(),
  ...choice,
});

/** A data set as a configuration names it: a published one by its name, any other by its fields. */
export const dataSetSchema = z.union([knownSchema, ownSchema], {
  error: (issue) =>
    typeof issue.input === 'object' && issue.input !== null
      ? reasonFor(issue.input as Record<string, unknown>)
      : `must be an object with a file, and either a set (${Object.keys(ADAPTERS).join(', ')}) or fields`,
});
export type DataSetSpec = z.infer<typeof dataSetSchema>;

/** The problems of the form that is meant: a union by itself tells none. */
function reasonFor(input: Record<string, unknown>): string {
  if (!('set' in input) && !('fields' in input)) {
    return `needs a set (${Object.keys(ADAPTERS).join(', ')}) or fields, such as fields: {query: question}`;
  }
  const { error } = ('set' in input ? knownSchema : ownSchema).safeParse(input);
  return (error?.issues ?? [])
    .map(({ path, message }) => [path.join('.'), message].filter(Boolean).join(': '))
    .join('; ');
}

export interface DataSet {
  readonly name: string;
  readonly items: readonly Item[];
  /** Of the items */
  readonly sha256: string;
  /** What was left out, each a sentence */
  readonly notes: readonly string[];
}

/**
 * Reads the queries of a data set: JSONL, or JSON with an array.
 *
 * @throws SdaError `file-missing`; `bad-file` naming the line (of an array: the item) of what is no object, lacks a
 *   field or has an id twice; `bad-input` where nothing is left
 */
export async function loadDataSet(spec: DataSetSpec): Promise<DataSet> {
  const adapter = 'set' in spec ? ADAPTERS[spec.set] : adapterOf(spec);
  const found = await readObjects(spec.file);
  const notes: string[] = [];
  const kept = adapter.select ? adapter.select(found) : found;
  if (kept.length < found.length) {
    notes.push(
      `${spec.file}: ${found.length} rows hold ${kept.length} queries; the first row of each was taken.`,
    );
  }
  const all = toItems(kept, adapter, spec.file);
  const items = choose(all, spec);
  if (items.length === 0) {
    throw new SdaError(
      'bad-input',
      `${spec.file} has ${all.length} queries, and offset ${spec.offset} leaves none: lower it.`,
    );
  }
  const name = 'set' in spec ? spec.set : basename(spec.file).replace(/\.jsonl?$/, '');
  const sha256 = createHash('sha256').update(JSON.stringify(items)).digest('hex');
  return { name, items, sha256, notes };
}

function adapterOf({ fields, template }: z.infer<typeof ownSchema>): Adapter {
  const labels = Object.fromEntries(fields.labels.map((label) => [label, label]));
  return {
    id: fields.id === undefined ? [] : [fields.id],
    requireId: true,
    query: [fields.query],
    labels,
    ...(template !== undefined && {
      wrap: (query: string) => template.replaceAll('{query}', () => query),
    }),
  };
}

function toItems(found: readonly Found[], adapter: Adapter, file: string): Item[] {
  const places = new Map<string, string>();
  return found.map(({ place, value, number }) => {
    const fail = (message: string): never => {
      throw new SdaError('bad-file', `${file}, ${place}: ${message}`);
    };
    const text = firstOf(value, adapter.query);
    if (typeof text !== 'string' || text.trim() === '') {
      const names = adapter.query.map((name) => `"${name}"`).join(' or ');
      const seen = text === undefined ? 'there is none' : `found ${JSON.stringify(text)}`;
      const has = Object.keys(value).slice(0, 8).join(', ');
      return fail(`expected a query as text in ${names}, ${seen} (fields: ${has}); correct it.`);
    }
    const given = firstOf(value, adapter.id);
    const usable = typeof given === 'string' ? given.trim() !== '' : Number.isFinite(given);
    if (given === undefined ? adapter.requireId && adapter.id.length > 0 : !usable) {
      fail(
        `expected an id as text or number in "${adapter.id[0]}", found ${JSON.stringify(given)}.`,
      );
    }
    const id = given === undefined ? String(number) : String(given);
    const earlier = places.get(id);
    if (earlier !== undefined) {
      fail(`the id ${JSON.stringify(id)} is that of ${earlier} already; ids must differ.`);
    }
    places.set(id, place);
    const query = adapter.wrap ? adapter.wrap(text) : text;
    return { id, query, labels: labelsOf(value, adapter.labels) };
  });
}

function labelsOf(
  value: Found['value'],
  names: Adapter['labels'],
): Readonly<Record<string, string>> {
  return Object.fromEntries(
    Object.entries(names).flatMap(([label, field]) => {
      const found = firstOf(value, [field]);
      if (found === undefined || found === null || found === '') return [];
      return [[label, labelText(found)] as const];
    }),
  );
}

/** Text as it is; of an object of flags (BeaverTails' categories), those that are set. */
function labelText(value: unknown): string {
  if (typeof value === 'string') return value;
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    return JSON.stringify(value);
  const set = Object.entries(value).filter(([, flag]) => flag === true);
  return set.map(([name]) => name).join(', ') || 'none';
}

/** The first of these fields that there is; dots reach into objects. */
function firstOf(value: Found['value'], names: readonly string[]): unknown {
  for (const name of names) {
    let part: unknown = value;
    if (Object.hasOwn(value, name)) part = value[name];
    else {
      for (const key of name.split('.')) {
        const inside = typeof part === 'object' && part !== null && Object.hasOwn(part, key);
        part = inside ? (part as Record<string, unknown>)[key] : undefined;
      }
    }
    if (part !== undefined) return part;
  }
  return undefined;
}

function choose(items: readonly Item[], spec: DataSetSpec): Item[] {
  const { offset, limit, sample, sample_seed: seed } = spec;
  if (limit !== undefined && sample !== undefined) {
    throw new SdaError('bad-input', 'Give limit or sample for the data set, not both.');
  }
  const rest = items.slice(offset, limit === undefined ? undefined : offset + limit);
  if (sample === undefined || sample >= rest.length) return rest;
  const random = xoroshiro128plus(seed);
  const order = [...rest.keys()];
  for (let i = 0; i < sample; i++) {
    const j = uniformInt(random, i, order.length - 1);
    [order[i], order[j]] = [order[j]!, order[i]!];
  }
  return order
    .slice(0, sample)
    .sort((a, b) => a - b)
    .map((index) => rest[index]!);
}
