import { SdaError } from '../errors.js';
import type { SdaModel } from '../generate/sda-model.js';
import { resolveSettings, type SdaSettings } from '../method/settings.js';
import { BandwidthProbe, bestProbe, type ProbeName, type ProbeResults } from './bandwidth.js';
import { kvBytesRead, weightBytesRead } from './bytes.js';
import { composedLoop, type StepPhases } from './composed-loop.js';
import { cpuThreads, peakRssBytes } from './environment.js';
import type { BenchPrompts } from './prompts.js';
import { type Summary, summarise, summariseRatios } from './statistics.js';

/** The ways of decoding that are compared. */
export const VARIANTS = ['plain', 'sda', 'sequential'] as const;
/**
 * - `plain`: the base prompt alone, one stream, no SDA
 * - `sda`: the product: both streams in one forward a step
 * - `sequential`: SDA done naively: a prefill, a cache and a forward a step for each stream
 */
export type Variant = (typeof VARIANTS)[number];

export interface DecodingOptions {
  readonly prompts: BenchPrompts;
  /** Drawn a run, at least 2; end-of-text tokens are ignored */
  readonly tokens: number;
  /** Rounds that are measured; each runs every variant once, in turn */
  readonly repeats: number;
  readonly greedy: boolean;
  readonly signal?: AbortSignal | undefined;
  /** Called before each run with what is done of all that is to do */
  readonly onProgress?: (done: number, total: number) => void;
  /** See `BandwidthProbe.open` */
  readonly probeBytes?: number | undefined;
}

/** One variant; times in milliseconds. */
export interface VariantReport {
  /** Until the first token is drawn */
  readonly prefillMs: Summary;
  /** Mean of the steps after the first token, of each run */
  readonly stepMs: Summary;
  /** Of the steps after the first token */
  readonly tokensPerSecond: Summary;
  /** Bytes of weights, keys and values that a step reads */
  readonly bytesPerStep: number;
  /** How long reading these takes at the measured bandwidth */
  readonly limitMs: number;
  /** limitMs / stepMs: 1 is decoding at the speed of memory */
  readonly limitShare: number;
}

export interface DecodingReport {
  readonly settings: SdaSettings & {
    readonly seed: number;
    readonly tokens: number;
    readonly repeats: number;
  };
  readonly prompts: {
    readonly base: number;
    readonly instructed: number;
    readonly shared: number;
    readonly source: BenchPrompts['source'];
  };
  readonly variants: Readonly<Record<Variant, VariantReport>>;
  /** Milliseconds a step, of runs side by side in one round */
  readonly ratios: {
    /** What SDA costs over plain decoding */
    readonly sdaToPlain: Summary;
    /** What one forward for both streams saves */
    readonly sequentialToSda: Summary;
  };
  /** Where a step of `sda` spends its time, measured in the same loop composed by hand */
  readonly phases: Readonly<Record<keyof StepPhases, Summary>>;
  /** Leading tokens on which a variant agrees with `sda`; the composed loop must agree on all */
  readonly agreement: { readonly composed: number; readonly sequential: number };
  readonly memory: {
    readonly weightBytes: number;
    /** The best probe, which gives the limits */
    readonly probe: ProbeName;
    /** Bytes a second of each probe, one sample a round */
    readonly bandwidth: Readonly<Partial<Record<ProbeName, Summary>>>;
    /** Largest resident size of the process before the probes allocated theirs, after a run of each variant */
    readonly peakRssBytes: number;
  };
}

export const SEED = 0;

export interface Run {
  readonly prefillMs: number;
  readonly decodeMs: number;
  readonly tokenIds: readonly number[];
}

/**
 * Measures decoding of one loaded model: a round that does not count, then rounds in which the variants and
 * the memory probes take turns.
 *
 * @throws SdaError `context-exceeded` where prompt and tokens do not fit the model, `aborted` by the signal
 */
export async function benchDecoding(
  model: SdaModel,
  options: DecodingOptions,
): Promise<DecodingReport> {
  const { prompts, tokens, repeats } = options;
  checkLength(model, prompts, tokens);
  const settings = resolveSettings({ greedy: options.greedy });
  const total = (repeats + 1) * (VARIANTS.length + 1);
  let done = 0;
  const turn = () => {
    stopIfAborted(options.signal);
    options.onProgress?.(done++, total);
  };

  const rounds: Round[] = [];
  const probes: ProbeResults[] = [];
  await runRound(model, options, settings, turn);
  const peakRss = peakRssBytes();
  const probe = await BandwidthProbe.open(cpuThreads(), options.probeBytes);
  try {
    for (let repeat = 0; repeat < repeats; repeat++) {
      rounds.push(await runRound(model, options, settings, turn));
      probes.push(await probe.measure());
    }
  } finally {
    await probe.dispose();
  }

  const best = bestProbe(probes);
  const bandwidth = summariseProbes(probes);
  const weightBytes = weightBytesRead(model.decoder.weights);
  const report = (variant: Variant) => {
    const runs = rounds.map((round) => round[variant]);
    const [base, instructed] = [prompts.baseIds.length, prompts.instructedIds.length];
    const lengths = variant === 'plain' ? [base] : [base, instructed];
    const passes = variant === 'sequential' ? 2 : 1;
    const bytes =
      passes * weightBytes + kvBytesRead(model.config, lengths, tokens, model.decoder.kv);
    return reportVariant(runs, bytes, bandwidth[best]!.median);
  };
  const variants = {
    plain: report('plain'),
    sda: report('sda'),
    sequential: report('sequential'),
  };
  const steps = (variant: Variant) => variants[variant].stepMs.samples;
  const { baseIds, instructedIds, sharedTokens, source } = prompts;
  return {
    settings: { ...settings, seed: SEED, tokens, repeats },
    prompts: {
      base: baseIds.length,
      instructed: instructedIds.length,
      shared: sharedTokens,
      source,
    },
    variants,
    ratios: {
      sdaToPlain: summariseRatios(steps('sda'), steps('plain')),
      sequentialToSda: summariseRatios(steps('sequential'), steps('sda')),
    },
    phases: summarisePhases(rounds.flatMap((round) => round.phases)),
    agreement: {
      composed: agreement(rounds, 'composed'),
      sequential: agreement(rounds, 'sequential'),
    },
    memory: { weightBytes, probe: best, bandwidth, peakRssBytes: peakRss },
  };
}

interface Round extends Readonly<Record<Variant | 'composed', Run>> {
  readonly phases: readonly StepPhases[];
}

async function runRound(
  model: SdaModel,
  { prompts, tokens, signal }: DecodingOptions,
  settings: SdaSettings,
  turn: () => void,
): Promise<Round> {
  const { baseIds, instructedIds } = prompts;
  const product = (variant: 'plain' | 'sda') => {
    turn();
    return decodeOnce(model, variant, { prompts, tokens, settings, signal });
  };
  const tokenizer = await model.tokenizer().catch(() => null);
  const logitBias = tokenizer ? model.logitBias(tokenizer) : undefined;
  const beforeForward = async () => {
    await new Promise((resolve) => setImmediate(resolve)); // as the product's loop does
    stopIfAborted(signal);
  };
  const byHand = (passes: Parameters<typeof composedLoop>[1]) => {
    turn();
    const loop = { settings, seed: SEED, tokens, logitBias, beforeForward };
    return composedLoop(model.decoder, passes, loop);
  };
  const plain = await product('plain');
  const sda = await product('sda');
  const sequential = await byHand([[baseIds], [instructedIds]]);
  const composed = await byHand([[baseIds, instructedIds]]);
  stopIfAborted(signal);
  return { plain, sda, sequential, composed, phases: composed.phases };
}

/** A run of the product itself. */
export async function decodeOnce(
  model: SdaModel,
  variant: 'plain' | 'sda',
  run: Pick<DecodingOptions, 'prompts' | 'tokens' | 'signal'> & { readonly settings: SdaSettings },
): Promise<Run> {
  const { prompts, tokens, settings, signal } = run;
  const plain = variant === 'plain';
  const answer = model.generate({
    prompts: { baseIds: prompts.baseIds, instructedIds: prompts.instructedIds },
    settings: plain ? { ...settings, mode: 'base' } : settings,
    singleStream: plain,
    maxTokens: tokens,
    seed: SEED,
    ignoreEos: true,
    signal,
  });
  for (;;) {
    const { value, done } = await answer.next();
    if (done) return { ...value.timing, tokenIds: value.tokenIds };
  }
}

export function reportVariant(
  runs: readonly Run[],
  bytesPerStep: number,
  bytesPerSecond: number,
): VariantReport {
  const stepMs = runs.map(({ decodeMs, tokenIds }) => decodeMs / (tokenIds.length - 1));
  const limitMs = (bytesPerStep / bytesPerSecond) * 1000;
  const steps = summarise(stepMs);
  return {
    prefillMs: summarise(runs.map(({ prefillMs }) => prefillMs)),
    stepMs: steps,
    tokensPerSecond: summarise(stepMs.map((ms) => 1000 / ms)),
    bytesPerStep,
    limitMs,
    limitShare: limitMs / steps.median,
  };
}

function summarisePhases(steps: readonly StepPhases[]): DecodingReport['phases'] {
  const phase = (name: keyof StepPhases) => summarise(steps.map((step) => step[name]));
  return {
    forward: phase('forward'),
    step: phase('step'),
    sample: phase('sample'),
    read: phase('read'),
    rest: phase('rest'),
  };
}

export function summariseProbes(rounds: readonly ProbeResults[]) {
  const names = Object.keys(rounds[0] ?? {}) as ProbeName[];
  return Object.fromEntries(
    names.map((name) => [name, summarise(rounds.map((round) => round[name]!))]),
  ) as Partial<Record<ProbeName, Summary>>;
}

/** The least number of leading tokens that a variant has in common with `sda`, over all rounds. */
function agreement(rounds: readonly Round[], variant: 'composed' | 'sequential'): number {
  return Math.min(
    ...rounds.map((round) => {
      const { tokenIds } = round.sda;
      const different = tokenIds.findIndex((id, step) => id !== round[variant].tokenIds[step]);
      return different < 0 ? tokenIds.length : different;
    }),
  );
}

/** @throws SdaError `context-exceeded` where prompt and tokens do not fit the model */
export function checkLength(model: SdaModel, prompts: BenchPrompts, tokens: number): void {
  const needed = Math.max(prompts.baseIds.length, prompts.instructedIds.length) + tokens;
  if (needed <= model.maxContext) return;
  throw new SdaError(
    'context-exceeded',
    `Prompt and tokens take ${needed} positions, but the context of ${model.dir} holds ${model.maxContext}: give a smaller --tokens or --prompt-tokens.`,
  );
}

export function stopIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw new SdaError('aborted', 'The benchmark was stopped.');
}
