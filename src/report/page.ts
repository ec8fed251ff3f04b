import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { packageRoot } from '../runtime/paths.js';
import type { PageData } from './data.js';

/** Found in the first lines of every report: what `sda report` may overwrite. */
export const REPORT_MARK = '<meta name="generator" content="sda report">';

/** The page's own scripts, in the order in which they run. */
const SCRIPTS = ['colours.js', 'tokens.js', 'charts.js', 'results.js', 'browser.js', 'main.js'];

/** One HTML file with everything in it: it loads nothing, and its policy forbids it to. */
export async function renderPage(data: PageData, traces: readonly string[]): Promise<string> {
  const require = createRequire(import.meta.url);
  const folder = join(packageRoot(), 'src', 'report', 'page');
  const [body, style, charts, ...own] = await Promise.all([
    readFile(join(folder, 'body.html'), 'utf8'),
    readFile(join(folder, 'page.css'), 'utf8'),
    readFile(join(require.resolve('echarts/package.json'), '..', 'dist', 'echarts.min.js'), 'utf8'),
    ...SCRIPTS.map((name) => readFile(join(folder, name), 'utf8')),
  ]);
  const scripts = [charts, own.join('\n')].map((text) => text.replace(/<\/(script)/gi, '<\\/$1'));
  const hashes = scripts.map(
    (text) => `'sha256-${createHash('sha256').update(text).digest('base64')}'`,
  );
  const policy = `default-src 'none'; script-src ${hashes.join(' ')}; style-src 'unsafe-inline'; img-src data: blob:; base-uri 'none'; form-action 'none'`;
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
${REPORT_MARK}
<meta http-equiv="Content-Security-Policy" content="${policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escapeText(data.title)}</title>
<style>
${style}</style>
</head>
<body>
${body}
<script type="application/json" id="data">${embedded(JSON.stringify(data))}</script>
<script type="application/json" id="traces">${embedded(traces.join('\n'))}</script>
${scripts.map((text) => `<script>${text}</script>`).join('\n')}
</body>
</html>
`;
}

/** JSON that cannot end its element, nor begin a comment in it. */
export function embedded(json: string): string {
  return json
    .replace(/</g, '\\u003c')
    .replace(/\u2028/g, '\\u2028')
    .replace(/\u2029/g, '\\u2029');
}

function escapeText(text: string): string {
  return text.replace(/&/g, '&amp;').replace(/</g, '&lt;');
}
