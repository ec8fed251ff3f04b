import { concat2d, slice, split, type Tensor2D, tidy } from '@tensorflow/tfjs-core';
import { SdaError } from '../errors.js';
import type { StepRule } from '../method/rule.js';
import type { Tap, Tapped, TappedModel } from '../method/taps.js';
import { type DecoderModel, head } from '../model/decoder.js';
import type { ModelRows } from './model-rows.js';
import type { Running, Seat } from './running.js';
import type { StepLogits } from './step-logits.js';

/** A query whose rule may read inside its models. */
interface Asked {
  readonly index: number;
  readonly query: { readonly settings: unknown };
  readonly decoding: {
    readonly rule: Pick<StepRule<never>, 'taps'>;
    readonly models: readonly DecoderModel[];
    readonly names?: readonly string[] | undefined;
  };
}

/**
 * What the rule of a query reads inside its models.
 *
 * @throws SdaError `bad-input` for a tap of a layer or stream that is not there
 */
export function tapsOf({ index, query, decoding }: Asked): readonly Tap[] {
  const { rule, models, names = models.map((_, stream) => `${stream}`) } = decoding;
  const seen = models.map(tappedModel);
  const taps = rule.taps?.(query.settings as never, seen) ?? [];
  for (const tap of taps) checkTap(tap, index, names, seen);
  return taps;
}

/** After how many layers of a model some queries read something, ascending: see `ForwardOptions`. */
export function layersRead(
  queries: readonly Pick<Running, 'taps' | 'decoding'>[],
  model: DecoderModel,
): number[] {
  const layers = queries.flatMap(({ taps, decoding }) =>
    taps.flatMap(({ stream, after }) => (decoding.models[stream] === model ? after : [])),
  );
  return [...new Set(layers)].sort((a, b) => a - b);
}

/** What taps have read in one step, for queries of one rule with the same models. */
export interface OpenTaps {
  readonly tapped: Tapped | undefined;
  /** Frees what was read. */
  readonly dispose: () => void;
}

/**
 * Hidden states come with the logits, line by line; the head runs over them here.
 *
 * @param vocabSize ids that all models have
 */
export function openTaps(
  queries: readonly Running[],
  logits: StepLogits,
  vocabSize: number,
): OpenTaps {
  const { rule } = queries[0]!.decoding;
  if (!rule.taps) return { tapped: undefined, dispose: () => {} };
  const named = queries.flatMap((query) => query.taps);
  const taps = [...new Map(named.map((tap) => [keyOf(tap), tap])).values()];
  const values = tidy(() => readAll(taps, queries, logits, vocabSize));
  const places = new Map(taps.map((tap, index) => [keyOf(tap), index]));
  return {
    tapped: {
      taps: queries.map((query) => query.taps),
      read: (tap) => values[places.get(keyOf(tap)) ?? notNamed(tap)]!,
    },
    dispose: () => {
      for (const tensor of values) tensor.dispose();
    },
  };
}

/** The values of all taps in turn, float32 [B, hidden] or [B, V]. */
function readAll(
  taps: readonly Tap[],
  queries: readonly Running[],
  logits: StepLogits,
  V: number,
): Tensor2D[] {
  const rowsOf = (stream: number) => rowsThatRun(queries[0]!.seats, stream);
  const values = taps.map(({ stream, after }) =>
    logits.states(rowsOf(stream), queries, { stream, after }),
  );
  for (const members of ofOneHead(taps, rowsOf)) {
    const { stream, of } = taps[members[0]!]!;
    const { model, logitBias: bias } = rowsOf(stream);
    const x = concat2d(
      members.map((index) => values[index]!),
      0,
    );
    const rows = head(model, x, { bias, norm: of === 'logits' });
    const parts = split(slice(rows, [0, 0], [-1, V]), members.length);
    members.forEach((index, part) => {
      values[index] = parts[part] as Tensor2D;
    });
  }
  return values;
}

/** Taps that one head reads, by number: its weights are read once for all of them. */
function ofOneHead(taps: readonly Tap[], rowsOf: (stream: number) => ModelRows): number[][] {
  const groups: number[][] = [];
  taps.forEach(({ stream, of }, index) => {
    if (of === 'hidden') return;
    const group = groups.find(([first]) => {
      const other = taps[first!]!;
      return other.of === of && rowsOf(other.stream) === rowsOf(stream);
    });
    if (group) group.push(index);
    else groups.push([index]);
  });
  return groups;
}

function rowsThatRun(seats: readonly Seat[], stream: number): ModelRows {
  return seats.find(({ streams }) => streams.includes(stream))!.of;
}

function tappedModel({ config, weights }: DecoderModel): TappedModel {
  const tied = weights.lmHead === weights.embedTokens;
  return { layers: config.numLayers, hidden: config.hiddenSize, tied };
}

const keyOf = ({ stream, after, of }: Tap) => `${stream} ${after} ${of}`;

function notNamed({ stream, after, of }: Tap): never {
  throw new SdaError(
    'bad-input',
    `The rule reads what its taps do not name: ${of} of stream ${stream} after ${after} layers; name it in taps.`,
  );
}

function checkTap(
  { stream, after, of }: Tap,
  query: number,
  names: readonly string[],
  models: readonly TappedModel[],
): void {
  const name = names[stream];
  if (name === undefined) {
    throw new SdaError(
      'bad-input',
      `A tap of query ${query} names the stream ${stream}, but the streams are 0..${names.length - 1} (${names.join(', ')}).`,
    );
  }
  const { layers } = models[stream]!;
  if (!Number.isInteger(after) || after < 0 || after > layers) {
    throw new SdaError(
      'bad-input',
      `A tap of query ${query} reads the stream ${name} after ${after} layers, but its model has ${layers}: give a whole number in 0..${layers}.`,
    );
  }
  if (!['hidden', 'logits', 'head'].includes(of)) {
    throw new SdaError(
      'bad-input',
      `A tap of query ${query} is of "${of}", but must be of hidden, logits or head.`,
    );
  }
}
