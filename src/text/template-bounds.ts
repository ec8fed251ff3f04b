/** Longest text, in characters, and longest list that a template may hold: the largest prompts are a tenth of it. */
export const MAX_TEXT = 16 * 2 ** 20;
export const MAX_LIST = 20_000;

/** The error of a text that a template would make too long. */
export function tooLong(): Error {
  return new Error(`it makes a text of more than ${MAX_TEXT} characters`);
}
