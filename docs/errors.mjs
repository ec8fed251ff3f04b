/**
 * Every message of every error, from the sources: docs/reference/errors.md. What a message fills in stands in angle
 * brackets.
 *
 *   node docs/errors.mjs
 */
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const OUT = fileURLToPath(new URL('./reference', import.meta.url));

/** @returns {{ code: string, message: string, file: string }[]} in the order of the files */
export function messages() {
  const files = ['src', 'kernels'].flatMap((folder) =>
    readdirSync(`${ROOT}/${folder}`, { recursive: true })
      .filter((name) => name.endsWith('.ts') && !name.endsWith('.d.ts'))
      .map((name) => `${folder}/${name}`),
  );
  return files.sort().flatMap(messagesOf);
}

function messagesOf(file) {
  const text = readFileSync(`${ROOT}/${file}`, 'utf8');
  const source = ts.createSourceFile(file, text, ts.ScriptTarget.ES2022, true);
  const found = [];
  const visit = (node) => {
    if (ts.isNewExpression(node) && node.expression.getText() === 'SdaError') {
      const [code, message] = node.arguments;
      for (const each of codesOf(code)) found.push({ code: each, message: wordsOf(message), file });
    }
    ts.forEachChild(node, visit);
  };
  visit(source);
  return found;
}

/** A code may be chosen where the error is made. */
function codesOf(node) {
  if (ts.isStringLiteral(node)) return [node.text];
  if (ts.isConditionalExpression(node))
    return [...codesOf(node.whenTrue), ...codesOf(node.whenFalse)];
  return ['given'];
}

function wordsOf(node) {
  if (ts.isStringLiteralLike(node)) return node.text;
  if (ts.isTemplateExpression(node)) {
    const spans = node.templateSpans.map(
      ({ expression, literal }) => filled(expression) + literal.text,
    );
    return node.head.text + spans.join('');
  }
  if (ts.isBinaryExpression(node)) return wordsOf(node.left) + wordsOf(node.right);
  if (ts.isConditionalExpression(node))
    return `${wordsOf(node.whenTrue)} / ${wordsOf(node.whenFalse)}`;
  return filled(node);
}

/** The name of what stands there; long expressions are only that. */
function filled(node) {
  if (ts.isConditionalExpression(node) || ts.isTemplateExpression(node)) return '‹...›';
  const text = node.getText().replace(/\s+/g, ' ');
  const name = /^[\w.]+$/.test(text) ? text : /^(?:\w+\.)*\w+\(([\w.]+)/.exec(text)?.[1];
  return `‹${name?.split('.').at(-1) ?? '...'}›`;
}

function page() {
  const all = messages();
  const codes = [...new Set(all.map(({ code }) => code))].sort();
  const parts = codes.flatMap((code) => [
    `## ${code}`,
    code === 'given'
      ? 'Where the code depends on the cause.'
      : `[Cause and remedy](../errors.md#${code})`,
    all
      .filter((each) => each.code === code)
      .map(
        ({ message, file }) =>
          `- \`\` ${message.replace(/`/g, "'").replace(/\s+/g, ' ')} \`\`\n  (${file})`,
      )
      .join('\n'),
  ]);
  return `# Every message\n\nOf the sources; ‹names› are what a message fills in.\n\n${parts.join('\n\n')}\n`;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  mkdirSync(OUT, { recursive: true });
  writeFileSync(`${OUT}/errors.md`, page());
}
