import { parse, YAMLParseError } from 'yaml';
import { messageOf, SdaError } from '../errors.js';

/**
 * What a YAML or JSON file holds; JSON is YAML.
 *
 * @param what names the file in errors, such as "The configuration a.yaml"
 * @throws SdaError `bad-file` with line and column, and without what stands there
 */
export function parseYaml(source: string, what: string): unknown {
  try {
    return parse(source) as unknown;
  } catch (error) {
    const at = error instanceof YAMLParseError ? error.linePos?.[0] : undefined;
    const where = at ? `, line ${at.line}, column ${at.col}` : '';
    const why = messageOf(error)
      .split('\n')[0]!
      .replace(/ at line .*$/, '');
    throw new SdaError('bad-file', `${what} is neither YAML nor JSON${where}: ${why}.`, {
      cause: error,
    });
  }
}
