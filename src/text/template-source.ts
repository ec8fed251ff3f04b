import { parse, tokenize } from '@huggingface/jinja';

/** A template's tree. */
export type TemplateProgram = ReturnType<typeof parse>;

/**
 * Parses Jinja text with the settings of transformers (trim_blocks, lstrip_blocks).
 * @throws SyntaxError
 */
export function parseTemplate(source: string): TemplateProgram {
  // `tokenize` takes one newline off the end, as Jinja2 does before anything else: here that is done already.
  return parse(tokenize(`${prepared(normalized(source))}\n`, {}));
}

/** Jinja2 knows one kind of newline, so that a template saved on Windows is the same template. */
function normalized(source: string): string {
  return source.replaceAll(/\r\n?/g, '\n').replace(/\n$/, '');
}

const STRING = String.raw`"(?:\\[^]|[^"\\])*"|'(?:\\[^]|[^'\\])*'`;

/** Comments, raw blocks, other blocks, expressions: whatever comes first hides what looks like a tag inside it. */
const TAGS = new RegExp(
  [
    String.raw`\{#(?<commentOpen>[-+]?)[^]*?(?<commentClose>[-+]?)#\}`,
    String.raw`\{%(?<rawOpen>[-+]?)\s*raw\s*(?:-%\}\s*|%\})(?<raw>[^]*?)\{%(?<rawEnd>[-+]?)\s*endraw\s*(?<rawClose>[-+]?)%\}`,
    String.raw`\{%(?<blockOpen>[-+]?)(?<block>(?:${STRING}|[^"'])*?)(?<blockClose>[-+]?)%\}`,
    String.raw`\{\{(?:${STRING}|[^"'])*?\}\}`,
  ].join('|'),
  'g',
);

/**
 * A template without the white space that trim_blocks and lstrip_blocks take, and with `{% raw %}` blocks as texts to
 * write. `@huggingface/jinja` knows no such blocks, and takes white space in the middle of strings and texts as well.
 */
function prepared(source: string): string {
  let result = '';
  let end = 0;
  for (const match of source.matchAll(TAGS)) {
    const { commentOpen, commentClose, rawOpen, raw, rawEnd, rawClose, block, ...rest } =
      match.groups!;
    const open = commentOpen ?? rawOpen ?? rest.blockOpen;
    const close = commentClose ?? rawClose ?? rest.blockClose;
    const outside = source.slice(end, match.index);
    const startsLine = end === 0 || source[end - 1] === '\n';
    result += open === '' ? withoutIndentation(outside, startsLine) : outside;
    const [before, after] = [open, close].map((sign) => (sign === '-' ? '-' : ''));
    if (raw !== undefined) {
      const text = rawEnd === '' ? withoutIndentation(raw, false) : raw;
      result += `{{${before} "${escaped(rawEnd === '-' ? text.trimEnd() : text)}" ${after}}}`;
    } else if (block !== undefined) {
      result += `{%${before}${block}${after}%}`;
    } else if (open !== undefined) {
      result += `{#${before} ${after}#}`;
    } else {
      result += match[0];
    }
    end = match.index + match[0].length;
    if (close === '' && source[end] === '\n') end++;
  }
  return result + source.slice(end);
}

/** What lstrip_blocks leaves before a tag: the white space of a line that has nothing else before it goes. */
function withoutIndentation(text: string, startsLine: boolean): string {
  const line = text.lastIndexOf('\n') + 1;
  const indented = (line > 0 || startsLine) && text.slice(line).trim() === '';
  return indented ? text.slice(0, line) : text;
}

/** As a string literal in which nothing looks like Jinja. */
function escaped(text: string): string {
  return text.replaceAll(
    /[^A-Za-z0-9 ]/g,
    (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}
