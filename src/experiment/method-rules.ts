import { ownSettings, shownSettings } from '../generate/shown-settings.js';
import type { Method, MethodRule } from './rows.js';

/** Whether responses of a method need a score of the base response: it gives the a that they steer by. */
export function isSteered(method: Method, rule?: MethodRule): boolean {
  return rule ? takesScore(rule) : method === 'steering' || method === 'sda';
}

/** Whether the a of a rule is that of each item's score: SDA, where its settings say none. */
export function takesScore({ rule, settings }: MethodRule): boolean {
  if (rule !== 'sda' || settings.amplification !== undefined) return false;
  return ['sda', 'steering'].includes(String(settings.mode ?? 'sda'));
}

/** A method that is a rule in a few words, such as "cfg: weight 1.5". */
export function shownRule({ rule, settings }: MethodRule): string {
  const own = shownSettings(ownSettings(settings));
  return own === '' ? rule : `${rule}: ${own}`;
}
