import ts from 'typescript';
import { expect, test } from 'vitest';
import { packageRoot } from '../../src/runtime/paths.js';

/** What the compiler says of rules written like these; line 1 is the first of `lines`. */
function complaintsOf(lines: readonly string[]): [line: number, message: string][] {
  const file = `${packageRoot()}/test/rules/written.ts`;
  const options: ts.CompilerOptions = {
    target: ts.ScriptTarget.ES2022,
    module: ts.ModuleKind.NodeNext,
    moduleResolution: ts.ModuleResolutionKind.NodeNext,
    strict: true,
    exactOptionalPropertyTypes: true,
    noUncheckedIndexedAccess: true,
    skipLibCheck: true,
    noEmit: true,
    types: ['node'],
  };
  const host = ts.createCompilerHost(options);
  const { getSourceFile, fileExists } = host;
  const text = lines.join('\n');
  host.fileExists = (name) => name === file || fileExists(name);
  host.getSourceFile = (name, version, ...rest) =>
    name === file
      ? ts.createSourceFile(name, text, version)
      : getSourceFile(name, version, ...rest);
  const program = ts.createProgram([file], options, host);
  return program
    .getSemanticDiagnostics(program.getSourceFile(file))
    .map((found) => [
      program.getSourceFile(file)!.getLineAndCharacterOfPosition(found.start!).line + 1,
      ts.flattenDiagnosticMessageText(found.messageText, ' '),
    ]);
}

test('a stream that a rule does not have does not compile', () => {
  const complaints = complaintsOf([
    "import { sub } from '@tensorflow/tfjs-core'; import { contextSteering, sdaSeveral } from '../../src/rules/catalogue.js'; import { blendRule, resolveSettingsOf } from '../../src/rules/define.js'; import { scoreRule } from '../../src/rules/score.js';",
    "const what = { name: 'x', title: 'x', formula: 'x', source: 'x', settings: {}, streams: { good: {}, bad: {} } } as const;",
    "blendRule({ ...what, blend: () => ({ anchor: 'good', weights: { bad: -1 }, mask: { by: 'bad', plausibility: 0.1 } }) });",
    "blendRule({ ...what, blend: () => ({ anchor: 'good', weights: { worse: -1 } }) });",
    "blendRule({ ...what, blend: () => ({ anchor: 'worse', weights: {} }) });",
    "blendRule({ ...what, blend: () => ({ anchor: 'good', weights: {}, mask: { by: 'worse', plausibility: 0.1 } }) });",
    "blendRule({ ...what, blend: () => ({ anchor: 'good', weights: {}, pair: ['good', 'worse'] }) });",
    "scoreRule({ ...what, anchor: 'good', score: ({ good, bad }) => sub(good, bad) });",
    "scoreRule({ ...what, anchor: 'good', score: ({ worse }) => worse });",
    "scoreRule({ ...what, anchor: 'worse', score: ({ good }) => good });",
    "resolveSettingsOf(contextSteering(['one', 'two']), { lambda: { one: 1, two: 2 } });",
    "resolveSettingsOf(contextSteering(['one', 'two']), { lambda: { one: 1, three: 2 } });",
    "resolveSettingsOf(sdaSeveral(['one', 'two']), { amplification: { one: 1, three: 2 } });",
    "scoreRule({ ...what, anchor: 'good', taps: (_, { good }) => [{ stream: 'bad', after: good.layers, of: 'head' }], score: ({ good }, _, [early]) => sub(good, early!) });",
    "scoreRule({ ...what, anchor: 'good', taps: () => [{ stream: 'worse', after: 1, of: 'head' }], score: ({ good }) => good });",
  ]);
  const lines = [...new Set(complaints.map(([line]) => line))];
  expect(complaints.filter(([line]) => [1, 2, 3, 8, 11, 14].includes(line))).toEqual([]);
  expect(lines).toEqual([4, 5, 6, 7, 9, 10, 12, 13, 15]);
  for (const [line, message] of complaints) {
    expect(message).toMatch([12, 13].includes(line) ? /three/ : /worse/);
  }
});
