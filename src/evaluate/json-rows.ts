/** Texts between quotes, so that what is looked for outside of them is not found inside. */
const TEXT = String.raw`"[^"\\]*(?:\\.[^"\\]*)*"`;
const LONG_NUMBER = new RegExp(String.raw`${TEXT}|(?<![\d.eE+-])-?\d{16,}(?![\d.eE])`, 'gs');
const NO_VALUE = new RegExp(
  String.raw`${TEXT}|-?\b(?:NaN|Infinity|None|True|False|undefined)\b`,
  'gs',
);

/**
 * JSON with whole numbers beyond 2^53 as the text that is written, instead of rounded: those are names of things.
 *
 * @throws SyntaxError
 */
export function parseRows(json: string): unknown {
  const value = JSON.parse(json) as unknown;
  if (!/\d{16}/.test(json)) return value;
  const exact = json.replace(LONG_NUMBER, (found) =>
    found.startsWith('"') || Number.isSafeInteger(Number(found)) ? found : `"${found}"`,
  );
  return JSON.parse(exact) as unknown;
}

/** The first value that other languages write and JSON does not have, and how many lines stand before it. */
export function foreignValue(text: string): { word: string; line: number } | null {
  for (const { 0: word, index } of text.matchAll(NO_VALUE)) {
    if (word.startsWith('"')) continue;
    return { word, line: text.slice(0, index).split('\n').length - 1 };
  }
  return null;
}
