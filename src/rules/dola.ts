import { z } from 'zod';
import { SdaError } from '../errors.js';
import { drawLayerContrast, type LayerChoice, type LayerStream } from '../method/layer-contrast.js';
import type { StepRule } from '../method/rule.js';
import type { TappedModel } from '../method/taps.js';
import { checkOf } from './check.js';
import { type Rule, type SettingsWith, sampled, settingsWith } from './define.js';
import { tappedFor } from './taps.js';

const own = {
  alpha: z.number().min(0).max(1).default(0.1).describe('plausibility after all layers'),
  layers: z
    .union([z.enum(['low', 'high']), z.array(z.int().min(0)).min(1)])
    .default('low')
    .describe('premature candidates: of the lower or the upper half, or a list such as [2, 4]'),
  norm: z
    .boolean()
    .default(true)
    .describe('the last norm before the head; the published code has none'),
};
type Dola = SettingsWith<typeof own>;

/**
 * Every second layer of the lower or upper half, of which no more than ten; without the embedding where the head is its
 * matrix and would only give back the token.
 */
function candidates(half: 'low' | 'high', { layers: N, tied }: TappedModel): number[] {
  const first = !tied ? 0 : N > 2 ? 2 : N - 1;
  const [from, to] = half === 'low' ? [first, Math.min(N >> 1, 20)] : [Math.max(N >> 1, N - 20), N];
  const found: number[] = [];
  for (let layer = from; layer < to; layer += 2) found.push(layer);
  return found.length > 0 ? found : [first];
}

const about = {
  name: 'dola',
  title: 'Decoding by contrasting layers',
  formula:
    'M - Q where P(mature) >= alpha max P(mature), M = log P after all layers, Q = log P after that of layers with the largest JS, with the last norm if norm',
  source: 'Chuang et al. 2024, arXiv:2309.03883',
  streams: { prompt: { adds: 'instruction' } },
  settings: settingsWith(own),
} as const;

const step: StepRule<Dola, LayerChoice> = (logits, draws) => {
  const blends = draws.settings.map((settings) =>
    sampled<LayerStream>(settings, {
      anchor: 'mature',
      weights: { premature: -1 },
      sum: 0,
      mask: { by: 'mature', plausibility: settings.alpha },
    }),
  );
  return drawLayerContrast(logits, tappedFor(about.name, draws.tapped), blends, draws);
};

const taps: StepRule<Dola>['taps'] = ({ layers, norm }, [model]) => {
  const N = model!.layers;
  const after = typeof layers === 'string' ? candidates(layers, model!) : layers;
  const beyond = after.find((layer) => layer >= N);
  if (beyond === undefined) {
    return after.map((layer) => ({ stream: 0, after: layer, of: norm ? 'logits' : 'head' }));
  }
  throw new SdaError(
    'bad-input',
    `The setting layers of the rule dola names layer ${beyond}, but the model has ${N}: name whole numbers in 0..${N - 1}.`,
  );
};

/**
 * Decoding by contrasting layers: what the upper layers of a model add to a premature one.
 *
 *     score = log P_mature - log P_premature    where P_mature >= alpha max P_mature
 *
 * The premature layer is, in each step, the candidate whose distribution has the largest JS to the mature one. Candidates
 * are every second layer, see `candidates`; 0 is the embedding. The paper has one head for all layers, which is the last
 * norm and its matrix. The published code leaves the norm out of the premature layer (`norm: false`), takes KL(M || P) in
 * place of KL(P || M) in JS, and one layer for all of a batch: here JS is the paper's, and each query has its own layer.
 * Source: Chuang et al. 2024, arXiv:2309.03883; `dola_layers` of transformers.
 */
export const dola: Rule<'prompt', Dola, LayerChoice> = {
  ...about,
  step: Object.assign(step, { check: checkOf<Dola>(about), taps }),
};
