import {
  concat2d,
  reshape,
  slice,
  split,
  type Tensor1D,
  type Tensor2D,
  type Tensor3D,
  tidy,
} from '@tensorflow/tfjs-core';
import { SdaError } from '../errors.js';
import type { StepRule } from '../method/rule.js';
import type { Tap, Tapped, TappedModel } from '../method/taps.js';
import { type DecoderModel, head } from '../model/decoder.js';
import type { Query } from './running.js';

/** What runs the streams of a batch. */
interface Batch {
  /** Of the streams, in order */
  readonly names: readonly string[];
  readonly modelOf: (name: string) => DecoderModel;
  /** Ids that all models have */
  readonly vocabSize: number;
  /** float32 [V of the model], added to its logits */
  readonly biasOf: (model: DecoderModel) => Tensor1D | undefined;
}

/** The lines of a step taken apart: the logits for the rule, and what its taps have read. */
export interface OpenLines {
  /** float32 [S B, V] */
  readonly logits: Tensor2D;
  readonly tapped: Tapped | undefined;
  /** Frees what was taken out of the lines, not the lines. */
  readonly dispose: () => void;
}

/**
 * What the rule of a batch reads inside its models. The forwards put hidden states behind the logits, in the same line, so
 * that they come, go and are freed with them; the head runs over them when a step is drawn.
 */
export class Taps {
  private readonly ofQuery: readonly (readonly Tap[])[];
  private readonly all: readonly Tap[];

  /** @throws SdaError `bad-input` for a tap of a layer or stream that is not there */
  constructor(
    rule: Pick<StepRule<never>, 'taps'>,
    queries: readonly Query<unknown>[],
    private readonly batch: Batch,
  ) {
    const models = batch.names.map((name) => tappedModel(batch.modelOf(name)));
    this.ofQuery = queries.map(({ settings }) => rule.taps?.(settings as never, models) ?? []);
    this.ofQuery.forEach((taps, query) => {
      for (const tap of taps) checkTap(tap, query, batch.names, models);
    });
    const byKey = new Map(this.ofQuery.flat().map((tap) => [keyOf(tap), tap]));
    this.all = [...byKey.values()];
  }

  /** After how many layers of a model something is read, ascending: see `ForwardOptions`. */
  layersOf(model: DecoderModel): number[] {
    const own = this.all.filter(({ stream }) => this.modelOf(stream) === model);
    return [...new Set(own.map(({ after }) => after))].sort((a, b) => a - b);
  }

  /**
   * @param lines float32 [S B, V + taps * hidden], see `joinModels`; the caller's
   * @param queries of the B queries of the step, their numbers
   */
  open(lines: Tensor2D, queries: readonly number[]): OpenLines {
    if (this.all.length === 0) return { logits: lines, tapped: undefined, dispose: () => {} };
    const [logits, ...values] = tidy(() => this.take(lines, queries.length)) as [
      Tensor2D,
      ...Tensor2D[],
    ];
    const places = new Map(this.all.map((tap, index) => [keyOf(tap), index]));
    const read = (tap: Tap) => values[places.get(keyOf(tap)) ?? notNamed(tap)]!;
    return {
      logits,
      tapped: { taps: queries.map((query) => this.ofQuery[query]!), read },
      dispose: () => {
        for (const tensor of [logits, ...values]) tensor.dispose();
      },
    };
  }

  private modelOf(stream: number): DecoderModel {
    return this.batch.modelOf(this.batch.names[stream]!);
  }

  /** The logits, and the values of all taps in turn. */
  private take(lines: Tensor2D, B: number): Tensor2D[] {
    const { names, vocabSize: V } = this.batch;
    const byStream = reshape(lines, [B, names.length, lines.shape[1]]) as Tensor3D;
    const states = this.all.map(({ stream, after }) => {
      const model = this.modelOf(stream);
      const { hiddenSize } = model.config;
      const column = V + this.layersOf(model).indexOf(after) * hiddenSize;
      const state = slice(byStream, [0, stream, column], [B, 1, hiddenSize]);
      return reshape(state, [B, hiddenSize]) as Tensor2D;
    });
    const values = states.slice();
    for (const members of this.ofOneHead()) {
      const { stream, of } = this.all[members[0]!]!;
      const model = this.modelOf(stream);
      const x = concat2d(
        members.map((index) => states[index]!),
        0,
      );
      const rows = head(model, x, { bias: this.batch.biasOf(model), norm: of === 'logits' });
      const parts = split(slice(rows, [0, 0], [-1, V]), members.length);
      members.forEach((index, part) => {
        values[index] = parts[part] as Tensor2D;
      });
    }
    return [slice(lines, [0, 0], [-1, V]), ...values];
  }

  /** Taps that one head reads, by number: its weights are read once for all of them. */
  private ofOneHead(): number[][] {
    const groups: number[][] = [];
    this.all.forEach(({ stream, of }, index) => {
      if (of === 'hidden') return;
      const group = groups.find(([first]) => {
        const other = this.all[first!]!;
        return other.of === of && this.modelOf(other.stream) === this.modelOf(stream);
      });
      if (group) group.push(index);
      else groups.push([index]);
    });
    return groups;
  }
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
