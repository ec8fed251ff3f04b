import { createHash } from 'node:crypto';
import { type Behaviour, type SeenRequest, says } from './stub-server.js';

/** The name under which the stand-in answers. */
export const STAND_IN = 'stand-in';

/**
 * Answers like a judging model, with numbers that say nothing of the responses: a hash of their text. It is there to
 * try a configuration, and to test with; never for results.
 */
export const standInAnswers: Behaviour = says((request) => {
  const { query = '', response, response_A: a, response_B: b } = partsOf(request);
  return JSON.stringify(
    response === undefined
      ? { A: standInScore(query, a ?? ''), B: standInScore(query, b ?? '') }
      : { score: standInScore(query, response) },
  );
});

/** 0, 10, ... 100: the same for the same texts. */
export function standInScore(query: string, response: string): number {
  const hash = createHash('sha256')
    .update(JSON.stringify([query, response]))
    .digest();
  return 10 * (hash.readUInt32LE() % 11);
}

/** What stands between the tags of a rubric's messages. */
function partsOf({ body }: SeenRequest): Record<string, string> {
  const text = (body.messages ?? []).map(({ content }) => content).join('\n');
  const tags = text.matchAll(/<(query|response|response_[AB])>\n(.*?)\n<\/\1>/gs);
  return Object.fromEntries([...tags].map(([, name, part]) => [name!, part!]));
}
