import type { Rule } from '../rules/define.js';
import { type SettingKind, settingKinds } from '../rules/ranges.js';
import { SAMPLING_NAMES } from './shown-settings.js';

/** A setting of a rule, as its schema says it. */
export interface RuleSetting extends SettingKind {
  readonly name: string;
  /** Of `sda generate`, such as "--base-top-p" */
  readonly flag: string;
}

/** The settings of a rule, its own before those that every rule has. */
export function settingsOf(rule: Rule): RuleSetting[] {
  const all = Object.entries(settingKinds(rule.settings)).map(
    ([name, kind]): RuleSetting => ({ name, flag: flagOf(name), ...kind }),
  );
  const shared = ({ name }: RuleSetting) => SAMPLING_NAMES.includes(name);
  return [...all.filter((each) => !shared(each)), ...all.filter(shared)];
}

/** "baseTopP" as "--base-top-p". */
export function flagOf(name: string): string {
  return `--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
}
