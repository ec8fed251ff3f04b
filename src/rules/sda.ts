import { z } from 'zod';
import { DEFAULT_SETTINGS, MODES, resolveSettings, type SdaSettings } from '../method/settings.js';
import { asSda, type SdaStep, sdaBlend, sdaRule, type TokenChoice } from '../method/step.js';
import { checkStreamsOf, resolveSettingsOf } from './check.js';
import { type Rule, SAMPLING } from './define.js';

const d = DEFAULT_SETTINGS;
const { topP, topK, minP, greedy } = SAMPLING;

const settings = z.strictObject({
  mode: z.enum(MODES).default(d.mode).describe('all of SDA, an ablation, or one stream'),
  amplification: z.number().default(d.amplification).describe('a, from the score (eq 3)'),
  k: z.number().positive().default(d.k).describe('steering strength (eq 5)'),
  t0: z.number().min(0).default(d.t0).describe('T0, base temperature; 0 is greedy (eq 7)'),
  sigma: z.number().positive().default(d.sigma).describe('sensitivity of T to JS (eq 7)'),
  tMin: z.number().min(0).default(d.tMin).describe('least temperature (eq 7)'),
  topP: topP.default(d.topP),
  topK,
  minP,
  greedy,
  plausibility: z.number().min(0).max(1).default(0).describe('alpha on P2; 0 is off'),
}) as z.ZodType<SdaSettings>;

const about: Omit<Rule<'base' | 'instructed', SdaSettings>, 'step'> = {
  name: 'sda',
  title: 'Steering-driven distribution alignment',
  formula:
    '(I + k a (I - B)) / T, B = log P(base), I = log P(instructed), T = max(tMin, t0 0.5^(JS / sigma))',
  source: 'Xia and Deng 2026, AAAI',
  streams: { base: {}, instructed: { adds: 'instruction' } },
  settings,
  resolve: (partial, of) => resolveSettings(partial, `${of} of the rule sda`),
};

const check: SdaStep['check'] = (query, own, streams) => {
  checkStreamsOf(about, query, streams, 1);
  resolveSettingsOf(about, own, ` of query ${query}`);
};

/** SDA (Steering-Driven Distribution Alignment): src/method has its equations. */
export const sda: Rule<'base' | 'instructed', SdaSettings, TokenChoice> = {
  ...about,
  step: Object.assign(sdaRule(), { check }),
  asBlend: { of: (own, streams) => sdaBlend(own, streams === 1 ? 1 : 2), choice: asSda },
};
