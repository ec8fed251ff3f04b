import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { settingsOf } from '../generate/rule-settings.js';
import { RULES } from '../rules/catalogue.js';
import type { Rule, StreamSource } from '../rules/define.js';
import { packageRoot } from '../runtime/paths.js';
import { CORES } from '../text/instructions.js';

/** A page and the policy that it is sent with: it runs its own script alone, and asks nobody but this server. */
export interface Page {
  readonly html: string;
  readonly policy: string;
}

/**
 * The page at "/".
 *
 * @param models names of the models that the server has beside its own: rules that need others are left out
 */
export async function playground(
  name: string,
  { wantsKey, models }: { readonly wantsKey: boolean; readonly models: readonly string[] },
): Promise<Page> {
  const folder = join(packageRoot(), 'src', 'serve', 'page');
  const part = (file: string) => readFile(join(folder, file), 'utf8');
  const [body, style, script] = await Promise.all(['body.html', 'page.css', 'page.js'].map(part));
  const data = { name, wantsKey, cores: CORES, rules: rulesFor(models) };
  const hash = createHash('sha256').update(script!).digest('base64');
  return {
    policy: `default-src 'none'; script-src 'sha256-${hash}'; style-src 'unsafe-inline'; img-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'`,
    html: `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<title>sda serve</title>
<style>
${style}</style>
</head>
<body>
${body}
<script type="application/json" id="data">${JSON.stringify(data).replace(/</g, '\\u003c')}</script>
<script type="module">${script}</script>
</body>
</html>
`,
  };
}

/** Those whose streams all have a model here, with the settings that a page can show. */
function rulesFor(models: readonly string[]) {
  const sources = (rule: Rule) => Object.values<StreamSource>(rule.streams);
  return (RULES as readonly unknown[] as readonly Rule[])
    .filter((rule) =>
      sources(rule).every(({ model }) => model === undefined || models.includes(model)),
    )
    .map((rule) => ({
      name: rule.name,
      title: rule.title,
      formula: rule.formula,
      settings: settingsOf(rule)
        .filter(({ type }) => type === 'number' || type === 'integer' || type === 'boolean')
        .map(({ name, type, default: value, meaning }) => ({
          name,
          type,
          default: value,
          meaning,
        })),
    }));
}
