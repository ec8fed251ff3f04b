import { loadRule } from '../generate/load-rule.js';
import { isRuleFile, ruleFingerprint } from '../generate/rule-file.js';
import type { Rule } from '../rules/define.js';

/** Rules that a configuration names by their files, by what it names them. */
export type RuleFiles = ReadonlyMap<string, RuleFile>;

interface RuleFile {
  readonly rule: Rule;
  /** Of what the file holds: see `ruleFingerprint` */
  readonly fingerprint: string;
}

/**
 * Runs the rule files that a configuration names, before it is checked: what is none yet is left to that.
 *
 * @throws SdaError `file-missing`, `bad-file`
 */
export async function loadRuleFiles(config: unknown): Promise<RuleFiles> {
  const { rules } = (config ?? {}) as { rules?: unknown };
  const files = new Map<string, RuleFile>();
  for (const entry of Array.isArray(rules) ? (rules as unknown[]) : []) {
    const { rule: file } = (entry ?? {}) as { rule?: unknown };
    if (typeof file !== 'string' || !isRuleFile(file) || files.has(file)) continue;
    files.set(file, { rule: await loadRule(file), fingerprint: ruleFingerprint(file) });
  }
  return files;
}
