import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { packageRoot } from '../runtime/paths.js';
import type { PageData } from './data.js';

/** Found in the first lines of every report: what `sda report` may overwrite. */
export const REPORT_MARK = '<meta name="generator" content="sda report">';

/** The page's own scripts, in the order in which they run; theme.js runs before anything is drawn. */
const SCRIPTS = [
  'colours.js',
  'tokens.js',
  'charts.js',
  'outcome-chart.js',
  'score-charts.js',
  'course-charts.js',
  'about.js',
  'table.js',
  'filter.js',
  'list.js',
  'item.js',
  'browser.js',
  'main.js',
];

/**
 * One HTML file with everything in it: it loads nothing, and its policy forbids it to. The traces, most of its bytes,
 * come last, so that the rest is shown before they are read.
 */
export async function renderPage(data: PageData, traces: readonly string[]): Promise<string> {
  const require = createRequire(import.meta.url);
  const folder = join(packageRoot(), 'src', 'report', 'page');
  const part = (name: string) => readFile(join(folder, name), 'utf8');
  const [body, style, theme, charts, ...own] = await Promise.all([
    part('body.html'),
    part('page.css'),
    part('theme.js'),
    readFile(join(require.resolve('echarts/package.json'), '..', 'dist', 'echarts.min.js'), 'utf8'),
    ...SCRIPTS.map(part),
  ]);
  const scripts = [theme, charts, own.join('\n')].map((text) =>
    text.replace(/<\/(script)/gi, '<\\/$1'),
  );
  const hashes = scripts.map(
    (text) => `'sha256-${createHash('sha256').update(text).digest('base64')}'`,
  );
  const [themeScript, ...pageScripts] = scripts.map((text) => `<script>${text}</script>`);
  const policy = `default-src 'none'; script-src ${hashes.join(' ')}; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'`;
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
${REPORT_MARK}
<meta http-equiv="Content-Security-Policy" content="${policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escapeText(data.title)}</title>
${themeScript}
<style>
${style}</style>
</head>
<body>
${body}
<script type="application/json" id="data">${embedded(JSON.stringify(data))}</script>
${pageScripts.join('\n')}
<script type="application/json" id="traces">${embedded(traces.join('\n'))}</script>
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
