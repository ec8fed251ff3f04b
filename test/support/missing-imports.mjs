/**
 * What programs that are not compiled import, of `dist` and of each other, and is not in the sources: a line each.
 *
 *   node test/support/missing-imports.mjs FILE...
 */
import { join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const DIST = join(ROOT, 'dist');

/** What the compiler says of it; the rest of what it says of JavaScript are guesses. */
const MISSING =
  /Cannot find module|has no (exported member|default export)|on type 'typeof import\(/;

const options = {
  allowJs: true,
  checkJs: true,
  noEmit: true,
  skipLibCheck: true,
  module: ts.ModuleKind.NodeNext,
  target: ts.ScriptTarget.ES2022,
  types: ['node'],
  rootDirs: [ROOT, DIST], // what a file of `dist` is built of stands for it
  paths: { 'sda-tfjs': [join(ROOT, 'src', 'index.ts')] },
};
const host = ts.createCompilerHost(options);
const { fileExists } = host;
host.fileExists = (file) => !file.startsWith(DIST) && fileExists(file);

const files = process.argv.slice(2).map((file) => resolve(file));
const program = ts.createProgram(files, options, host);
for (const file of files) {
  for (const { messageText } of program.getSemanticDiagnostics(program.getSourceFile(file))) {
    const message = ts.flattenDiagnosticMessageText(messageText, ' ');
    if (MISSING.test(message)) process.stdout.write(`${relative(ROOT, file)}: ${message}\n`);
  }
}
