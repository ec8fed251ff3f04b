import type { Behaviour, SeenRequest } from './stub-server.js';
import { says } from './stub-server.js';

/** The name under which the stand-in answers. */
export const STAND_IN = 'stand-in';

/**
 * Answers like a judging model, with numbers that judge nothing: the share of the query's longer words that the
 * response takes up, less what it repeats. It is there to try a configuration, and to test with; never for results.
 */
export const standInAnswers: Behaviour = says((request) => {
  const { query = '', response, response_A: a, response_B: b } = partsOf(request);
  return JSON.stringify(
    response === undefined
      ? { A: standInScore(query, a ?? ''), B: standInScore(query, b ?? '') }
      : { score: standInScore(query, response) },
  );
});

/** 0..100: 70 for words taken up, 30 for words not repeated; 0 for a response without words. */
export function standInScore(query: string, response: string): number {
  const words = wordsOf(response);
  if (words.length === 0) return 0;
  const distinct = new Set(words);
  const asked = [...new Set(wordsOf(query))].filter((word) => word.length > 3);
  const taken = asked.filter((word) => distinct.has(word)).length / Math.max(1, asked.length);
  return Math.round(10 * (70 * taken + (30 * distinct.size) / words.length)) / 10;
}

function wordsOf(text: string): string[] {
  return text.toLowerCase().match(/[\p{L}\p{N}]+/gu) ?? [];
}

/** What stands between the tags of a rubric's messages. */
function partsOf({ body }: SeenRequest): Record<string, string> {
  const text = (body.messages ?? []).map(({ content }) => content).join('\n');
  const tags = text.matchAll(/<(query|response|response_[AB])>\n(.*?)\n<\/\1>/gs);
  return Object.fromEntries([...tags].map(([, name, part]) => [name!, part!]));
}
