/** Runs of letters, digits and apostrophes; each character of a script without spaces counts. */
export function wordCount(text: string): number {
  const words = /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}]|[\p{L}\p{N}\p{M}'’]+/gu;
  return text.match(words)?.length ?? 0;
}

/** null of nothing. */
export function mean(values: readonly number[]): number | null {
  return values.length === 0 ? null : values.reduce((sum, value) => sum + value, 0) / values.length;
}
