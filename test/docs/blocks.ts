import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { packageRoot } from '../../src/runtime/paths.js';

/** A fenced block of a page. */
export interface Block {
  readonly page: string;
  /** Line of its opening fence, from 1 */
  readonly line: number;
  readonly language: string;
  readonly text: string;
  /** What the comment before it says: why it is not run, that it goes on running, or which file it is a part of */
  readonly notRun: string | undefined;
  readonly background: boolean;
  readonly excerptOf: string | undefined;
  /** What its first line, a comment with a name alone, says that it is saved as */
  readonly file: string | undefined;
}

const DOCS = join(packageRoot(), 'docs');

/** The pages written by hand, by their path in the repository. */
export const PAGES: readonly string[] = [
  'README.md',
  ...readdirSync(DOCS)
    .filter((name) => name.endsWith('.md'))
    .sort()
    .map((name) => `docs/${name}`),
];

export function pageText(page: string): string {
  return readFileSync(join(packageRoot(), page), 'utf8');
}

const COMMENT = /^<!-- (.*) -->$/;
const NAME = /^(?:\/\/|#) ([\w./-]+\.\w+)$/;

/** All fenced blocks of a page, in order. */
export function blocksOf(page: string): Block[] {
  const lines = pageText(page).split('\n');
  const blocks: Block[] = [];
  for (let at = 0; at < lines.length; at++) {
    const language = /^```(\S+)/.exec(lines[at]!)?.[1];
    if (!lines[at]!.startsWith('```')) continue;
    const end = lines.indexOf('```', at + 1);
    if (language === undefined || end < 0)
      throw new Error(`${page}:${at + 1}: a fence without a language or an end`);
    const text = `${lines.slice(at + 1, end).join('\n')}\n`;
    const said = COMMENT.exec(lines[at - 1] ?? '')?.[1] ?? '';
    const after = (start: string) =>
      said.startsWith(start) ? said.slice(start.length) : undefined;
    blocks.push({
      page,
      line: at + 1,
      language,
      text,
      notRun: after('not run: '),
      background: said === 'background',
      excerptOf: after('excerpt: '),
      file: NAME.exec(lines[at + 1]!)?.[1],
    });
    at = end;
  }
  return blocks;
}

/** The page without its fenced blocks and comments, line by line as it was. */
export function proseOf(page: string): string {
  let inside = false;
  const lines = pageText(page)
    .split('\n')
    .map((line) => {
      const fence = line.startsWith('```');
      if (fence) inside = !inside;
      return fence || inside || COMMENT.test(line) ? '' : line;
    });
  return lines.join('\n');
}
