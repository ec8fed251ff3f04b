import type { Rule, Sampling } from '../rules/define.js';
import type { GenerateRequest } from './types.js';

/** The same query answered by the model alone, as if there were no instruction: sampled as the rule would. */
export function asBase(request: GenerateRequest<Rule>): GenerateRequest {
  const { rule, streams: _, negative: __, settings = {}, ...rest } = request;
  if (!rule) {
    return { ...request, settings: { ...settings, mode: 'base' }, singleStream: true } as never;
  }
  const { temperature: t0 = 1, ...sampling } = (rule as Rule).settings.parse(settings) as Sampling;
  const { topP = 1, topK = 0, minP = 0, greedy = false } = sampling;
  return { ...rest, settings: { mode: 'base', t0, topP, topK, minP, greedy }, singleStream: true };
}
