import { concat2d, type Tensor1D, type Tensor2D } from '@tensorflow/tfjs-core';
import { uniformFloat32 } from 'pure-rand/distribution/uniformFloat32';
import { mersenne } from 'pure-rand/generator/mersenne';
import { DRAW } from '../../kernels/sample/index.js';
import { prefill } from '../decode/prefill.js';
import type { Streams } from '../decode/streams.js';
import { drawFrom } from '../method/blend.js';
import type { SdaSettings } from '../method/settings.js';
import { sdaDistribution } from '../method/step.js';
import { type DecoderModel, forward } from '../model/decoder.js';
import { KvCache } from '../model/kv-cache.js';

/** Where the time of one decode step goes, milliseconds. */
export interface StepPhases {
  /** The decoder, tokens to logits */
  readonly forward: number;
  /** Eqs 4-8 */
  readonly step: number;
  /** The draw */
  readonly sample: number;
  /** Reading the drawn token back from the device */
  readonly read: number;
  /** Everything else: JavaScript between the operations */
  readonly rest: number;
}

export interface ComposedRun {
  readonly tokenIds: readonly number[];
  readonly prefillMs: number;
  readonly decodeMs: number;
  /** Of each step after the first token, which the prefill gives */
  readonly phases: readonly StepPhases[];
}

export interface ComposedOptions {
  readonly settings: SdaSettings;
  readonly seed: number;
  readonly tokens: number;
  readonly logitBias?: Tensor1D | undefined;
  /** Waited for before each forward */
  readonly beforeForward: () => Promise<void>;
}

/**
 * SDA for one query, composed by hand of the functions that the product's loop is made of, with a stopwatch
 * around each. On a GPU operations only start when they are called, and most of the time shows as `read`.
 *
 * @param passes the forwards of a step: `[[base, instructed]]` runs both streams in one, as the product does;
 *   `[[base], [instructed]]` runs them one after the other, each with a cache of its own, as the authors do.
 */
export async function composedLoop(
  model: DecoderModel,
  passes: readonly Streams[],
  options: ComposedOptions,
): Promise<ComposedRun> {
  const { tokens, logitBias, beforeForward } = options;
  const random = mersenne(options.seed);
  const caches = passes.map((streams) => {
    const capacity = Math.max(...lengthsOf(streams)) + tokens;
    return new KvCache(model.config, streams.length, capacity, capacity, model.kv);
  });
  const tokenIds: number[] = [];
  const phases: StepPhases[] = [];
  const start = performance.now();
  let prefillMs = 0;
  let parts: Tensor2D[] = []; // logits, a part a pass
  try {
    for (const [pass, streams] of passes.entries()) {
      parts.push(await prefill(model, streams, caches[pass]!, { logitBias, beforeForward }));
    }
    let begin = start;
    let forwardMs = 0;
    for (let step = 0; ; step++) {
      const drawn = await drawToken(parts, options.settings, uniformFloat32(random));
      tokenIds.push(drawn.id);
      const end = performance.now();
      if (step === 0) prefillMs = end - start;
      else phases.push(phasesOf(drawn, forwardMs, end - begin));
      if (step + 1 >= tokens) break;

      begin = end;
      await beforeForward();
      const beforeForwards = performance.now();
      parts = passes.map((streams, pass) => {
        const batch = {
          ids: Int32Array.from(streams, () => drawn.id),
          positions: Int32Array.from(lengthsOf(streams), (length) => length + step),
          rows: Int32Array.from(streams.keys()),
        };
        return forward(model, batch, caches[pass]!, { logits: 'last', logitBias })!;
      });
      forwardMs = performance.now() - beforeForwards;
    }
  } finally {
    for (const tensor of parts) tensor.dispose();
    for (const cache of caches) cache.dispose();
  }
  return { tokenIds, prefillMs, decodeMs: performance.now() - start - prefillMs, phases };
}

function lengthsOf(streams: Streams): number[] {
  return streams.map((ids) => ids!.length);
}

interface Drawn {
  readonly id: number;
  readonly stepMs: number;
  readonly sampleMs: number;
  readonly readMs: number;
}

/** Disposes `parts`. */
async function drawToken(
  parts: Tensor2D[],
  settings: SdaSettings,
  uniform: number,
): Promise<Drawn> {
  const logits = parts.length === 1 ? parts[0]! : concat2d(parts, 0);
  const start = performance.now();
  const distribution = sdaDistribution(logits, settings, [settings.amplification]);
  const stepped = performance.now();
  const cuts = { ...settings, greedy: settings.greedy || settings.t0 === 0 };
  const draw = drawFrom(distribution, logits, [cuts], [uniform]);
  const sampled = performance.now();
  const values = await draw.data();
  const read = performance.now();
  for (const tensor of new Set([...parts, logits, ...Object.values(distribution), draw])) {
    tensor.dispose();
  }
  return {
    id: values[DRAW.id]!,
    stepMs: stepped - start,
    sampleMs: sampled - stepped,
    readMs: read - sampled,
  };
}

function phasesOf({ stepMs, sampleMs, readMs }: Drawn, forwardMs: number, total: number) {
  return {
    forward: forwardMs,
    step: stepMs,
    sample: sampleMs,
    read: readMs,
    rest: total - forwardMs - stepMs - sampleMs - readMs,
  };
}
