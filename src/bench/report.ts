import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { SdaModel } from '../generate/sda-model.js';
import { weightDtype } from '../runtime/quantised.js';
import { benchDecoding, type DecodingOptions, type DecodingReport } from './decoding.js';
import { describeEnvironment, type Environment, peakRssBytes } from './environment.js';
import { benchPrompts } from './prompts.js';

/** All that `sda bench` measured, with where and how. */
export interface BenchReport extends Environment, DecodingReport {
  readonly model: {
    readonly dir: string;
    readonly modelType: string;
    /** Of the matrices on the device, and how others quantised them, such as `int4 (GPTQ, groups of 128)` */
    readonly dtype: string;
    /** Of the weight files */
    readonly fileBytes: number;
    /** From the call to ready weights, with TensorFlow running already */
    readonly loadMs: number;
    /** Largest resident size of the process before and after loading */
    readonly rssBeforeBytes: number;
    readonly rssAfterBytes: number;
  };
}

export interface BenchOptions extends Omit<DecodingOptions, 'prompts'> {
  readonly promptTokens?: number | undefined;
  /** Largest resident size before the model was loaded */
  readonly rssBeforeBytes: number;
}

/** Measures decoding of a model that has just been loaded; see `benchDecoding`. */
export async function bench(model: SdaModel, options: BenchOptions): Promise<BenchReport> {
  const { promptTokens, rssBeforeBytes, ...rest } = options;
  const rssAfterBytes = peakRssBytes();
  const environment = await describeEnvironment();
  const prompts = await benchPrompts(model, promptTokens);
  const decoding = await benchDecoding(model, { ...rest, prompts });
  const { dir, config, loadMs } = model;
  const fileBytes = await weightFileBytes(dir);
  return {
    ...environment,
    model: {
      dir,
      modelType: config.modelType,
      dtype: dtypeOf(model.decoder),
      fileBytes,
      loadMs,
      rssBeforeBytes,
      rssAfterBytes,
    },
    ...decoding,
  };
}

/** The type of a model's matrices on the device, and how others quantised them. */
export function dtypeOf({ weights, quantisedBy }: SdaModel['decoder']): string {
  const dtype = weightDtype(weights.layers[0]!.tensors.downProj);
  return quantisedBy === null ? dtype : `${dtype} (${quantisedBy})`;
}

/** The report with names as the JSON of the other commands has them: `step_ms`. */
export function toSnakeCase(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(toSnakeCase);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, field]) => [
      key.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`),
      toSnakeCase(field),
    ]),
  );
}

async function weightFileBytes(dir: string): Promise<number> {
  const names = (await readdir(dir)).filter((name) => name.endsWith('.safetensors'));
  const sizes = await Promise.all(names.map(async (name) => (await stat(join(dir, name))).size));
  return sizes.reduce((sum, size) => sum + size, 0);
}
