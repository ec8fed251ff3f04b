import { SdaError } from '../errors.js';

/** Which parts of SDA run: all, an ablation, or plain decoding of either stream. */
export const MODES = ['sda', 'steering', 'scaling', 'instructed', 'base'] as const;

/**
 * - `sda`: steering (eqs 4, 5) and divergence-aware scaling (eqs 6, 7)
 * - `steering`: steering alone, T = T0
 * - `scaling`: scaling alone, a = 0
 * - `instructed`: neither: P2 at T0
 * - `base`: P1 at T0
 */
export type Mode = (typeof MODES)[number];

/** Everything that decides a token, but the seed. */
export interface SdaSettings {
  readonly mode: Mode;
  /** a, amplifying factor (eq 3); 0..1 with eq 3, any finite number with the other functions */
  readonly amplification: number;
  /** k, steering strength, > 0 (eq 5) */
  readonly k: number;
  /** T0, base temperature, >= 0; 0 is greedy decoding (eq 7) */
  readonly t0: number;
  /** sigma, sensitivity of T to the divergence, > 0 (eq 7) */
  readonly sigma: number;
  /** Tmin, lower bound of T, >= 0 (eq 7) */
  readonly tMin: number;
  /** nucleus threshold, 0..1; 1 = off (eq 8) */
  readonly topP: number;
  /** keep the k likeliest tokens; 0 = off */
  readonly topK: number;
  /** keep tokens at least this many times as likely as the likeliest, 0..1; 0 = off */
  readonly minP: number;
  /** take the likeliest token of log P; the temperature then has no effect */
  readonly greedy: boolean;
  /** alpha, 0..1: tokens with P2 below alpha times its largest are never drawn; 0 = off (beyond the paper) */
  readonly plausibility: number;
}

/** The paper's settings (section "Symbols" of its experiments), with the a of a score of 70. */
export const DEFAULT_SETTINGS: SdaSettings = Object.freeze({
  mode: 'sda',
  amplification: 0.2,
  k: 2,
  t0: 0.6,
  sigma: 0.01,
  tMin: 0.2,
  topP: 0.95,
  topK: 0,
  minP: 0,
  greedy: false,
  plausibility: 0,
});

/** Named sets of settings to start from. */
export const PRESETS = {
  /** eqs 3-8 with the paper's constants */
  paper: {},
  /** the authors' temperature function 1, which their result files are named for */
  'authors-1': { sigma: 0.01, tMin: 0.2 },
  /** the authors' temperature function 0: sigma = 2 ln 2, no lower bound */
  'authors-0': { sigma: 2 * Math.LN2, tMin: 0 },
} as const satisfies Record<string, Partial<SdaSettings>>;

type NumericSetting = {
  [K in keyof SdaSettings]: SdaSettings[K] extends number ? K : never;
}[keyof SdaSettings];

const RANGES: Record<NumericSetting, { expected: string; holds: (value: number) => boolean }> = {
  amplification: { expected: 'a finite number', holds: Number.isFinite },
  k: { expected: 'a number above 0', holds: (v) => v > 0 && v < Infinity },
  t0: { expected: 'a number of at least 0', holds: (v) => v >= 0 && v < Infinity },
  sigma: { expected: 'a number above 0', holds: (v) => v > 0 },
  tMin: { expected: 'a number of at least 0', holds: (v) => v >= 0 && v < Infinity },
  topP: { expected: 'a number in 0..1', holds: (v) => v >= 0 && v <= 1 },
  topK: { expected: 'a whole number of at least 0', holds: (v) => Number.isInteger(v) && v >= 0 },
  minP: { expected: 'a number in 0..1', holds: (v) => v >= 0 && v <= 1 },
  plausibility: { expected: 'a number in 0..1', holds: (v) => v >= 0 && v <= 1 },
};

/**
 * Defaults filled in and every range checked.
 *
 * @param of whose settings they are, such as " of query 3", for errors
 * @throws SdaError `bad-input` naming the setting, the range and the value.
 */
export function resolveSettings(partial: Partial<SdaSettings> = {}, of = ''): SdaSettings {
  const given = Object.fromEntries(
    Object.entries(partial).filter(([, value]) => value !== undefined),
  );
  const settings: SdaSettings = { ...DEFAULT_SETTINGS, ...given };
  if (!MODES.includes(settings.mode)) {
    throw new SdaError(
      'bad-input',
      `mode${of} must be one of ${MODES.join(', ')}, but is ${quoted(settings.mode)}.`,
    );
  }
  if (typeof settings.greedy !== 'boolean') {
    throw new SdaError(
      'bad-input',
      `greedy${of} must be true or false, but is ${shown(settings.greedy)}.`,
    );
  }
  for (const [name, range] of Object.entries(RANGES) as [NumericSetting, (typeof RANGES)['k']][]) {
    if (typeof settings[name] === 'number' && range.holds(settings[name])) continue;
    throw new SdaError(
      'bad-input',
      `${name}${of} must be ${range.expected}, but is ${shown(settings[name])}.`,
    );
  }
  return settings;
}

/** A value in a sentence; of what holds others, which may not even turn into text, what it is. */
function shown(value: unknown): string {
  if (typeof value !== 'object' || value === null) return String(value);
  return Array.isArray(value) ? 'a list' : 'an object';
}

function quoted(value: unknown): string {
  return typeof value === 'string' ? `"${value}"` : shown(value);
}
