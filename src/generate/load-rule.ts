import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { messageOf, SdaError } from '../errors.js';
import { RULES, ruleNamed } from '../rules/catalogue.js';
import type { Rule } from '../rules/define.js';
import { isRuleFile } from './rule-file.js';

/**
 * A rule of the catalogue by its name, or the default export of a JavaScript file, which is run.
 *
 * @throws SdaError `bad-input` naming the rules that there are; `file-missing`, `bad-file`
 */
export async function loadRule(nameOrFile: string): Promise<Rule> {
  if (!isRuleFile(nameOrFile)) return ruleNamed(nameOrFile);
  if (!existsSync(nameOrFile)) {
    throw new SdaError(
      'file-missing',
      `The rule ${nameOrFile} does not exist: give a JavaScript file, or one of ${RULES.map(({ name }) => name).join(', ')}.`,
    );
  }
  let found: unknown;
  try {
    found = ((await import(pathToFileURL(resolve(nameOrFile)).href)) as { default?: unknown })
      .default;
  } catch (error) {
    throw new SdaError('bad-file', `The rule ${nameOrFile} cannot be run: ${messageOf(error)}.`, {
      cause: error,
    });
  }
  if (isRule(found)) return found;
  throw new SdaError(
    'bad-file',
    `The file ${nameOrFile} has no rule as its default export: write "export default blendRule({ ... })".`,
  );
}

function isRule(value: unknown): value is Rule {
  const rule = value as Partial<Rule> | null | undefined;
  return (
    typeof rule?.name === 'string' &&
    typeof rule.step === 'function' &&
    typeof rule.streams === 'object' &&
    typeof rule.settings?.safeParse === 'function'
  );
}
