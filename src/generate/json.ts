import type { Rule } from '../rules/define.js';
import type { SdaRule, StepOf } from './types.js';

/** What a rule says of a token, under its own names; what SDA says, under those that its traces have always had. */
export function choiceJson(step: StepOf<Rule>): Record<string, unknown> {
  const { step: _, text: __, parts: ___, ...choice } = step;
  if (!('logpBase' in choice)) return choice as Record<string, unknown>;
  const { id, js, temperature, logpBase, logpInstructed, logp } =
    choice as unknown as StepOf<SdaRule>;
  return { id, js, temperature, logp_base: logpBase, logp_instructed: logpInstructed, logp };
}

/** Settings with their names in snake case. */
export function settingsJson(settings: object): Record<string, unknown> {
  const snake = (name: string) => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
  return Object.fromEntries(
    Object.entries(settings).map(([name, value]) => [snake(name), value as unknown]),
  );
}
