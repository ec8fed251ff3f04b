import { concat, slice, type Tensor2D, tidy } from '@tensorflow/tfjs-core';
import { uniformFloat32 } from 'pure-rand/distribution/uniformFloat32';
import { DrawnStep } from '../method/drawn-step.js';
import type { Running } from './running.js';
import type { StepLogits } from './step-logits.js';
import { openTaps } from './taps.js';

/** Queries for which no token could be drawn. */
export interface FailedDraw {
  readonly queries: readonly Running[];
  readonly error: unknown;
}

/** The tokens of one step: a draw of each rule, on their way from the device or known. */
export class StepDraw {
  /** Every token is on the device, so that the next step may begin before it is read */
  readonly onDevice: boolean;
  private readonly firsts: readonly number[];
  private joined: Tensor2D | undefined;

  private constructor(private readonly draws: readonly DrawnStep<Running>[]) {
    this.onDevice = draws.every(({ lines }) => lines !== undefined);
    let above = 0;
    this.firsts = draws.map(({ lines }) => {
      above += lines?.shape[0] ?? 0;
      return above - (lines?.shape[0] ?? 0);
    });
  }

  /** Runs the rule of each query; those that have the same rule and models are drawn for together. */
  static async of(
    running: readonly Running[],
    logits: StepLogits,
  ): Promise<{ draw: StepDraw; failed: FailedDraw[] }> {
    const draws: DrawnStep<Running>[] = [];
    const failed: FailedDraw[] = [];
    for (const queries of groupsOf(running)) {
      try {
        draws.push(await drawGroup(queries, logits));
      } catch (error) {
        failed.push({ queries, error });
      }
    }
    return { draw: new StepDraw(draws), failed };
  }

  /** The draws on the device, one a line that begins with the token: what `idOf` refers to. */
  get lines(): Tensor2D | undefined {
    const parts = this.draws.flatMap(({ lines }) => lines ?? []);
    if (parts.length < 2) return parts[0];
    this.joined ??= tidy(() => {
      const ids = parts.map((part) => slice(part, [0, 0], [-1, 1]));
      return concat(ids, 0) as Tensor2D;
    });
    return this.joined;
  }

  /** The token of a query as `TokenBatch.ids` has it: an id, or ~line where it has not left the device. */
  idOf(query: Running): number {
    const index = this.draws.findIndex(({ running }) => running.includes(query));
    const id = this.draws[index]!.idOf(query);
    return id < 0 ? id - this.firsts[index]! : id; // ~(first + line) is ~line - first
  }

  /** Each query with what was drawn for it, which waits for the device where need be, or throws. */
  *choices() {
    for (const draw of this.draws) {
      for (const [line, query] of draw.running.entries()) {
        yield { query, choice: () => draw.choice(line) };
      }
    }
  }

  dispose(): void {
    this.joined?.dispose();
    for (const draw of this.draws) draw.dispose();
  }
}

/** Queries with the same rule and the same models, in the order in which they came. */
function groupsOf(running: readonly Running[]): Running[][] {
  const groups: Running[][] = [];
  for (const query of running) {
    const group = groups.find(([first]) => sameDecoding(first!, query));
    if (group) group.push(query);
    else groups.push([query]);
  }
  return groups;
}

function sameDecoding({ decoding: a }: Running, { decoding: b }: Running): boolean {
  if (a === b) return true;
  return (
    a.rule === b.rule &&
    a.models.length === b.models.length &&
    a.models.every((model, stream) => model === b.models[stream])
  );
}

function drawGroup(queries: readonly Running[], logits: StepLogits): Promise<DrawnStep<Running>> {
  const { rule } = queries[0]!.decoding;
  return logits.use(queries, async (lines) => {
    const { tapped, dispose } = openTaps(queries, logits, lines.shape[1]);
    try {
      const drawn = await rule(lines, {
        settings: queries.map(({ query }) => query.settings),
        uniforms: queries.map(({ random }) => uniformFloat32(random)),
        queries: queries.map(({ index }) => index),
        ...(tapped && { tapped }),
      });
      return new DrawnStep(queries, drawn);
    } finally {
      dispose();
    }
  });
}
