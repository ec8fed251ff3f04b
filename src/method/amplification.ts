import { SdaError } from '../errors.js';

/**
 * F: evaluator's score S of the base response -> amplifying factor a (eq 3), and the authors' six other
 * functions by name; the numbers in the comments are those of their code.
 */
export const AMPLIFICATIONS = {
  /** eq 3 (authors' 4): 2 (1 / (1 + e^(1 - 100/S)) - 1/2); F(100) = 0, F(S) -> 1 as S -> 0 */
  sigmoid: (score: number) => 2 * (1 / (1 + Math.exp(1 - 100 / score)) - 0.5),
  /** authors' 0 */
  'exp-shifted': (score: number) => Math.exp(-score / 100 - 1),
  /** authors' 1 */
  exp: (score: number) => Math.exp(-score / 100),
  /** authors' 2: 100 at S = 1, without bound as S -> 0 */
  inverse: (score: number) => 100 / score,
  /** authors' 3: negative above S = 50, which steers away from the instruction */
  'linear-signed': (score: number) => 1 - (2 * score) / 100,
  /** authors' 5 */
  linear: (score: number) => 1 - score / 100,
  /** authors' 6 */
  cosine: (score: number) => Math.cos((score * Math.PI) / 200),
} as const satisfies Record<string, (score: number) => number>;

export type AmplificationName = keyof typeof AMPLIFICATIONS;

/**
 * a = F(S).
 *
 * @param score S, 0 < S <= 100; 0 itself is accepted where F has a limit there (not for `inverse`).
 * @param name which F; default eq 3.
 * @throws SdaError `bad-input` for a score that is not a number in 0..100 (the authors mark a failed scoring
 *   with -1: it must never steer), or an unknown name.
 */
export function amplify(score: number, name: AmplificationName = 'sigmoid'): number {
  if (!(score >= 0 && score <= 100)) {
    throw new SdaError(
      'bad-input',
      `The score must be a number above 0 and at most 100, but is ${score}: score the base response again.`,
    );
  }
  if (!Object.hasOwn(AMPLIFICATIONS, name)) {
    const known = Object.keys(AMPLIFICATIONS).join(', ');
    throw new SdaError('bad-input', `No amplification is named "${name}": use one of ${known}.`);
  }
  const a = AMPLIFICATIONS[name](score + 0); // + 0 turns -0, at which 100 / S changes sign, into 0
  if (!Number.isFinite(a)) {
    throw new SdaError(
      'bad-input',
      `The amplification "${name}" has no finite value at a score of ${score}: give a score above 0.`,
    );
  }
  return a;
}
