import type { TokenCount } from './types.js';

/** US dollars per million tokens. */
export interface Price {
  readonly input: number;
  readonly output: number;
}

/** US dollars; null where the price is not known. */
export function costOf(tokens: TokenCount, price: Price | undefined): number | null {
  return price ? (tokens.input * price.input + tokens.output * price.output) / 1e6 : null;
}

/** What was asked of one model so far, and whether more may be. */
export class Spending {
  private input = 0;
  private output = 0;
  private uncounted = 0;

  constructor(
    private readonly price: Price | undefined,
    /** US dollars */
    private readonly cap: number | undefined,
  ) {}

  get tokens(): TokenCount {
    return { input: this.input, output: this.output };
  }

  get cost(): number | null {
    return costOf(this.tokens, this.price);
  }

  /** @param tokens null where the server did not count them */
  add(tokens: TokenCount | null): void {
    this.input += tokens?.input ?? 0;
    this.output += tokens?.output ?? 0;
    if (!tokens) this.uncounted++;
  }

  /** Why nothing more may be asked; null while something may. */
  refusal(): string | null {
    if (this.cap === undefined) return null;
    if (this.uncounted > 0) {
      return 'The server does not count its tokens, so the cost cap cannot be kept: ask without a cap.';
    }
    const cost = this.cost ?? 0;
    if (cost < this.cap) return null;
    return `The cost cap of ${this.cap} US dollars is reached (${cost.toFixed(6)} spent): raise it to go on.`;
  }
}
