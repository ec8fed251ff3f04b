import { Ledger } from './ledger.js';
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
  /** Entries of the ledger that are summed up here: it only grows */
  private seen = 0;
  private spent = 0;
  /** Whether an answer of this model came without its tokens */
  private uncounted = false;
  /** Evaluators that this model has answered */
  private readonly answered = new Set<string>();

  /**
   * @param cap US dollars, of all that the ledger holds: other models count by what they cost when they were asked,
   *   or by their price here; those without any price do not
   */
  constructor(
    private readonly model: string,
    private readonly prices: Readonly<Record<string, Price>>,
    private readonly cap: number | undefined,
    private readonly ledger = new Ledger(),
  ) {}

  /** Of this process and model alone */
  get tokens(): TokenCount {
    return { input: this.input, output: this.output };
  }

  get cost(): number | null {
    return costOf(this.tokens, this.priceOf(this.model));
  }

  /** @param tokens null where the server did not count them */
  add(evaluator: string, tokens: TokenCount | null): void {
    this.input += tokens?.input ?? 0;
    this.output += tokens?.output ?? 0;
    const cost = tokens && costOf(tokens, this.priceOf(this.model));
    this.ledger.add({ evaluator, model: this.model, tokens, cost });
  }

  /** Whether the model has answered this evaluator, be it an earlier process. */
  hasAnswered(evaluator: string): boolean {
    this.catchUp();
    return this.answered.has(evaluator);
  }

  /** Why nothing more may be asked; null while something may. */
  refusal(): string | null {
    if (this.cap === undefined) return null;
    this.catchUp();
    if (this.uncounted) {
      return 'The server does not count its tokens, so the cost cap cannot be kept: ask without a cap.';
    }
    if (this.spent < this.cap) return null;
    return `The cost cap of ${this.cap} US dollars is reached (${this.spent.toFixed(6)} spent in all): raise it to go on.`;
  }

  private catchUp(): void {
    const entries = this.ledger.entries();
    for (; this.seen < entries.length; this.seen++) {
      const { evaluator, cost, tokens, model } = entries[this.seen]!;
      this.spent += cost ?? (tokens && costOf(tokens, this.priceOf(model))) ?? 0;
      if (model !== this.model) continue;
      this.uncounted ||= tokens === null;
      this.answered.add(evaluator);
    }
  }

  private priceOf(model: string): Price | undefined {
    return Object.hasOwn(this.prices, model) ? this.prices[model] : undefined;
  }
}
