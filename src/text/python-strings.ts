/** Methods that strip a text, and the sides they strip. */
export const STRIPS: ReadonlyMap<unknown, 'both' | 'left' | 'right'> = new Map([
  ['strip', 'both'],
  ['lstrip', 'left'],
  ['rstrip', 'right'],
]);

/** Texts with other capitals, by method and, after a bar, by filter: the filter `title` counts words in its own way. */
export const CASES: ReadonlyMap<unknown, (text: string) => string> = new Map([
  ['capitalize', capitalized],
  ['|capitalize', capitalized],
  ['title', (text: string) => text.replaceAll(/\p{L}+/gu, capitalized)],
  ['|title', (text: string) => text.replaceAll(/[^-\s({[<]+/gu, capitalized)],
]);

function capitalized(text: string): string {
  const [first = '', ...rest] = text;
  return first.toUpperCase() + rest.join('').toLowerCase();
}
