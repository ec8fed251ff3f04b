/** The alignment cores of the paper: what the instruction I asks for. */
export const CORES = ['empathy', 'harmlessness', 'helpfulness', 'reasoning', 'truthful'] as const;

/** The name of an alignment core. */
export type CoreName = (typeof CORES)[number];

/**
 * The built-in alignment instruction of each core, addressed to the model and worded plainly enough for
 * small chat models: what to do, then what not to do.
 */
export const INSTRUCTIONS: Readonly<Record<CoreName, string>> = {
  empathy:
    'Be warm and understanding. Say that these feelings are normal, and give one or two gentle ideas that could help.',
  harmlessness:
    'Keep the answer safe for everyone. If the request could hurt someone, decline it politely, say why in a sentence, and suggest a safe alternative.',
  helpfulness:
    'Be as useful as you can. Answer exactly what was asked, with clear, concrete and complete information, and leave out what does not help.',
  reasoning:
    'Think it through before you conclude. Use only what the text says, keep the important facts in order, and state the result briefly and precisely.',
  truthful:
    'Say only what is true. Rely on well-established facts, correct false assumptions in the question, and admit it openly when you do not know.',
};

/** Whether a text is the name of a core. */
export function isCoreName(name: string): name is CoreName {
  return (CORES as readonly string[]).includes(name);
}
