import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

/** Whether a rule is named by a file, not by its name in the catalogue. */
export function isRuleFile(nameOrFile: string): boolean {
  return /\.[cm]?js$/.test(nameOrFile);
}

/** `import x from './y.js'`, `export * from './y.js'`, `import './y.js'`, `import('./y.js')` */
const IMPORTS = /\b(?:from|import)\s*\(?\s*(['"])(\.[^'"\n]*)\1/g;

/**
 * Tells rule files apart by what they hold, with the files beside them that they import by a relative path; data that a
 * rule reads otherwise does not count, nor do packages.
 */
export function ruleFingerprint(file: string): string {
  const hash = createHash('sha256');
  const seen = new Set<string>();
  const add = (path: string) => {
    if (seen.has(path) || !existsSync(path)) return;
    seen.add(path);
    const source = readFileSync(path, 'utf8');
    hash.update(`${Buffer.byteLength(source)}\n${source}`);
    for (const [, , name] of source.matchAll(IMPORTS)) {
      add(fileURLToPath(new URL(name!, pathToFileURL(path))));
    }
  };
  add(resolve(file));
  return hash.digest('hex').slice(0, 16);
}
