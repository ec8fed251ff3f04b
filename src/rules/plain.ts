import { blendRule } from './define.js';

/** Plain sampling from one prompt: what every rule is where it steers by nothing. */
export const plain = blendRule({
  name: 'plain',
  title: 'Plain decoding',
  formula: 'P / temperature, P = log P(prompt)',
  source: 'none',
  streams: { prompt: { adds: 'instruction' } },
  settings: {},
  blend: () => ({ anchor: 'prompt', weights: {} }),
});
