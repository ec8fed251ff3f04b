import { dispose } from '@tensorflow/tfjs-core';
import type { SdaModel } from '../generate/sda-model.js';
import { resolveSettings, type SdaSettings } from '../method/settings.js';
import type { KvDtype } from '../model/kv-dtype.js';
import { weightDtype } from '../runtime/quantised.js';
import { type Accuracy, AccuracySums } from './accuracy.js';
import { BandwidthProbe, bestProbe, type ProbeName, type ProbeResults } from './bandwidth.js';
import { kvBytesRead, weightBytesRead } from './bytes.js';
import {
  checkLength,
  type DecodingOptions,
  decodeOnce,
  type Run,
  reportVariant,
  SEED,
  stopIfAborted,
  summariseProbes,
  type VariantReport,
} from './decoding.js';
import { cpuThreads } from './environment.js';
import { ForcedText } from './forced-text.js';
import { type Summary, summariseRatios } from './statistics.js';

/** The same checkpoint with its matrices in several types, in the order in which they are told. */
export interface DtypesOptions extends DecodingOptions {
  /** Token ids of a text by which accuracy is measured; empty: it is not */
  readonly text: readonly number[];
}

/** A checkpoint in one type. */
export interface DtypeReport {
  /** Of the linear layers, as they are on the device */
  readonly dtype: string;
  /** Of keys and values */
  readonly kv: KvDtype;
  readonly loadMs: number;
  /** That a step reads */
  readonly weightBytes: number;
  readonly plain: VariantReport;
  readonly sda: VariantReport;
  /** What SDA costs over plain decoding, milliseconds a step */
  readonly sdaToPlain: Summary;
  /** How many times faster SDA is than in the first type, of runs in the same round; null of the first */
  readonly timesFirst: Summary | null;
  /** Against the first type; null of the first, and without a text */
  readonly accuracy: Accuracy | null;
}

export interface DtypesReport {
  readonly settings: SdaSettings & {
    readonly seed: number;
    readonly tokens: number;
    readonly repeats: number;
  };
  readonly prompts: { readonly base: number; readonly instructed: number };
  readonly dtypes: readonly DtypeReport[];
  readonly memory: {
    /** The best probe, which gives the limits */
    readonly probe: ProbeName;
    readonly bandwidth: Readonly<Partial<Record<ProbeName, Summary>>>;
  };
}

type Round = readonly Readonly<Record<'plain' | 'sda', Run>>[];

/**
 * Measures several loaded models in turn, round by round, and how far each is from the first.
 *
 * @param models one checkpoint in different types, at least one
 * @throws SdaError `context-exceeded` where prompt and tokens, or prompt and text, do not fit; `aborted` by the signal
 */
export async function benchDtypes(
  models: readonly SdaModel[],
  options: DtypesOptions,
): Promise<DtypesReport> {
  const { prompts, tokens, repeats, signal } = options;
  for (const model of models) checkLength(model, prompts, tokens);
  const settings = resolveSettings({ greedy: options.greedy });
  const total = models.length * (2 * (repeats + 1));
  let done = 0;
  const run = async (model: SdaModel, variant: 'plain' | 'sda') => {
    stopIfAborted(signal);
    options.onProgress?.(done++, total);
    return decodeOnce(model, variant, { prompts, tokens, settings, signal });
  };
  const round = async () => {
    const runs: Round[number][] = [];
    for (const model of models) {
      runs.push({ plain: await run(model, 'plain'), sda: await run(model, 'sda') });
    }
    return runs;
  };

  const accuracies = await compareOn(options.text, models, { ...options, settings });
  await round(); // warms up
  const rounds: Round[] = [];
  const probes: ProbeResults[] = [];
  const probe = await BandwidthProbe.open(cpuThreads(), options.probeBytes);
  try {
    for (let repeat = 0; repeat < repeats; repeat++) {
      rounds.push(await round());
      probes.push(await probe.measure());
    }
  } finally {
    await probe.dispose();
  }

  const best = bestProbe(probes);
  const bandwidth = summariseProbes(probes);
  const [base, instructed] = [prompts.baseIds.length, prompts.instructedIds.length];
  const reports = models.map((model, index) => {
    const weightBytes = weightBytesRead(model.decoder.weights);
    const variant = (name: 'plain' | 'sda') => {
      const lengths = name === 'plain' ? [base] : [base, instructed];
      const bytes = weightBytes + kvBytesRead(model.config, lengths, tokens, model.decoder.kv);
      const runs = rounds.map((each) => each[index]![name]);
      return reportVariant(runs, bytes, bandwidth[best]!.median);
    };
    return { model, weightBytes, plain: variant('plain'), sda: variant('sda') };
  });
  const first = reports[0]!.sda.stepMs.samples;
  const dtypes = reports.map(({ model, weightBytes, plain, sda }, index) => ({
    dtype: weightDtype(model.decoder.weights.layers[0]!.tensors.downProj),
    kv: model.decoder.kv,
    loadMs: model.loadMs,
    weightBytes,
    plain,
    sda,
    sdaToPlain: summariseRatios(sda.stepMs.samples, plain.stepMs.samples),
    timesFirst: index === 0 ? null : summariseRatios(first, sda.stepMs.samples),
    accuracy: accuracies[index - 1] ?? null,
  }));
  return {
    settings: { ...settings, seed: SEED, tokens, repeats },
    prompts: { base, instructed },
    dtypes,
    memory: { probe: best, bandwidth },
  };
}

/** How far all models but the first are from it. */
async function compareOn(
  text: readonly number[],
  models: readonly SdaModel[],
  { prompts, settings, signal }: DtypesOptions & { readonly settings: SdaSettings },
): Promise<readonly Accuracy[]> {
  if (text.length === 0 || models.length === 1) return [];
  const texts: ForcedText[] = [];
  try {
    for (const model of models) texts.push(new ForcedText(model, settings, prompts, text));
    const sums = texts.slice(1).map(() => new AccuracySums());
    for (let compared = 0; compared < text.length; ) {
      await new Promise((resolve) => setImmediate(resolve));
      stopIfAborted(signal);
      const places = texts.map((each) => each.next());
      const [expected, ...found] = places;
      for (const [index, each] of found.entries()) sums[index]!.add(expected!, each);
      compared += expected!.base.shape[0];
      for (const each of places) dispose([each.base, each.steered, each.stats]);
    }
    return sums.map(({ means }) => means);
  } finally {
    for (const each of texts) each.dispose();
  }
}
