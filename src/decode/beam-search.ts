import type { Tensor2D } from '@tensorflow/tfjs-core';
import { SdaError } from '../errors.js';
import type { Choice, StepDraws, StepRule } from '../method/rule.js';
import { likeliest, logSumExp } from './given-tokens.js';

export interface BeamOptions {
  /** Texts that are kept at each step, at least 1 */
  readonly beams: number;
  /** Tokens at most, at least 1 */
  readonly maxTokens: number;
  /** Ids that end a text */
  readonly endIds: ReadonlySet<number>;
  /** p: texts are compared by log P over their length to the power of p; 0 favours short ones, more long ones */
  readonly lengthPenalty: number;
}

/** A text that beam search has found. */
export interface BeamText {
  /** With the one that ends it */
  readonly ids: readonly number[];
  /** log P of all of them, nats */
  readonly logp: number;
  /** By which texts are compared, see `BeamOptions` */
  readonly score: number;
  /** Whether it ended by itself, and not because there was no room for more */
  readonly ended: boolean;
}

/** A text on its way; log P is -Infinity where there is none. */
interface Beam {
  readonly ids: readonly number[];
  readonly logp: number;
}

interface Candidate extends Beam {
  /** The beam that it goes on with */
  readonly parent: number;
  readonly id: number;
  /** log P of its newest token */
  readonly own: number;
}

/**
 * Beam search over the tokens of one stream, as transformers' `generate` with `num_beams` does it (`early_stopping` false):
 * of all beams with one more token the likeliest go on; of those, texts that end are kept; the search is over once no beam
 * is better than the worst text that is kept. Its rule is that of as many queries of an engine as there are beams, with the
 * same prompt, which begin together; each of them is the row of one beam.
 */
export class BeamSearch {
  readonly rule: StepRule<unknown> = (logits, draws) => this.step(logits, draws);
  private beams: Beam[];
  private texts: BeamText[] = [];
  private length = 0;
  private over = false;

  constructor(private readonly options: BeamOptions) {
    const none = { ids: [], logp: Number.NEGATIVE_INFINITY };
    this.beams = Array.from({ length: options.beams }, (_, i) =>
      i === 0 ? { ...none, logp: 0 } : none,
    );
  }

  /** Whether no better text can come */
  get done(): boolean {
    return this.over;
  }

  /** The texts that were found, the best first: at most as many as there are beams. */
  get found(): readonly BeamText[] {
    return this.texts;
  }

  private async step(logits: Tensor2D, { queries }: StepDraws): Promise<Choice[]> {
    const { beams, endIds } = this.options;
    const [lines, width] = logits.shape;
    if (lines !== beams) {
      throw new SdaError(
        'out-of-memory',
        `Beam search needs rows for ${beams} beams at once, but there were only ${lines}: ask for fewer beams.`,
      );
    }
    const values = (await logits.data()) as Float32Array;
    const most = beams * Math.max(2, 1 + endIds.size); // so that enough are left when every end is among them
    const candidates = this.beams
      .flatMap((beam, parent) =>
        continued(beam, parent, values.subarray(parent * width, (parent + 1) * width), most),
      )
      .sort((a, b) => b.logp - a.logp)
      .slice(0, most);
    this.length++;
    this.keep(candidates.slice(0, beams));
    const going = candidates.filter(({ id }) => !endIds.has(id)).slice(0, beams);
    this.over = this.isOver(going[0]);
    return this.place(going, queries!);
  }

  /** Keeps the best of the texts that end. */
  private keep(candidates: readonly Candidate[]): void {
    const { beams, maxTokens, endIds, lengthPenalty } = this.options;
    const ending = candidates.filter(({ id }) => endIds.has(id) || this.length === maxTokens);
    const texts = ending.map(({ ids, logp, id }) => {
      return { ids, logp, score: logp / this.length ** lengthPenalty, ended: endIds.has(id) };
    });
    this.texts = [...this.texts, ...texts].sort((a, b) => b.score - a.score).slice(0, beams);
  }

  private isOver(best: Candidate | undefined): boolean {
    const { beams, lengthPenalty } = this.options;
    if (!best) return true;
    const worst = this.texts[beams - 1]?.score ?? Number.NEGATIVE_INFINITY;
    return best.logp / this.length ** lengthPenalty <= worst;
  }

  /** Gives each text a row: the first that goes on with a beam has that beam's, the others those of beams that have ended. */
  private place(going: readonly Candidate[], queries: readonly number[]): Choice[] {
    const rows: (Candidate | undefined)[] = this.beams.map((_, row) =>
      going.find(({ parent }) => parent === row),
    );
    const others = going.filter((candidate) => !rows.includes(candidate));
    const filled = rows.map((candidate) => candidate ?? others.shift());
    this.beams = filled.map((each) => each ?? { ids: [], logp: Number.NEGATIVE_INFINITY });
    return filled.map((each, row): Choice => {
      if (!each) return { id: 0, logp: Number.NEGATIVE_INFINITY }; // a row without a text runs whatever token
      const { id, own, parent } = each;
      return { id, logp: own, ...(parent !== row && { continues: queries[parent]! }) };
    });
  }
}

/** The likeliest ways to go on with a beam. */
function continued(beam: Beam, parent: number, logits: Float32Array, most: number): Candidate[] {
  if (beam.logp === Number.NEGATIVE_INFINITY) return [];
  const logZ = logSumExp(logits);
  return likeliest(logits, Math.min(most, logits.length))
    .map((id) => ({ id, own: logits[id]! - logZ }))
    .filter(({ own }) => own > Number.NEGATIVE_INFINITY)
    .map(({ id, own }) => ({ parent, id, own, ids: [...beam.ids, id], logp: beam.logp + own }));
}
