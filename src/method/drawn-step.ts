import type { Tensor2D } from '@tensorflow/tfjs-core';
import { type ReadBack, readBack } from '../../kernels/read-back/index.js';
import { type Choice, choiceOf, type Drawn } from './rule.js';

/** A step whose tokens have been drawn: on their way from the device, or known to the host at once. */
export class DrawnStep<Line, C extends Choice = Choice> {
  /** The draws on the device, where the host did not make them: what `idOf` refers to */
  readonly lines: Tensor2D | undefined;
  private readonly reading: ReadBack | undefined;
  private values: Float32Array | undefined;

  /** @param running whose tokens they are, one a line */
  constructor(
    readonly running: readonly Line[],
    private readonly drawn: Drawn<C>,
  ) {
    if (!('lines' in drawn)) return;
    this.lines = drawn.lines;
    this.reading = readBack(drawn.lines);
  }

  /** The token of one line as `TokenBatch.ids` has it: an id, or ~line where it has not left the device. */
  idOf(line: Line): number {
    const index = this.running.indexOf(line);
    return 'lines' in this.drawn ? ~index : this.drawn[index]!.id;
  }

  /**
   * What was drawn in a line; waits for the device where need be.
   *
   * @throws SdaError `bad-logits`
   */
  choice(index: number): C {
    if (!('lines' in this.drawn)) return this.drawn[index]!;
    this.values ??= this.reading!.values();
    return choiceOf(this.drawn, this.values, index);
  }

  dispose(): void {
    this.reading?.dispose();
    this.lines?.dispose();
  }
}
