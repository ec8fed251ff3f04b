import { SdaError } from '../errors.js';

/** Collects what independent checks throw, so that a file's owner sees all of it at once. */
export class Problems {
  /** @param found what was found before */
  constructor(private readonly found: SdaError[] = []) {}

  /** Each by itself. */
  get all(): readonly SdaError[] {
    return this.found.flatMap(problemsIn);
  }

  /** The result of a check, or undefined where it found a problem. */
  attempt<T>(check: () => T): T | undefined {
    try {
      return check();
    } catch (error) {
      if (!(error instanceof SdaError)) throw error;
      this.found.push(error);
      return undefined;
    }
  }

  /** The same for a check that takes time. */
  async attemptAsync<T>(check: () => Promise<T>): Promise<T | undefined> {
    try {
      return await check();
    } catch (error) {
      if (!(error instanceof SdaError)) throw error;
      this.found.push(error);
      return undefined;
    }
  }

  /** @throws SdaError with the code of the first problem and the messages of all; see {@link problemsIn}. */
  throwIfAny(): void {
    const [first, ...others] = this.found;
    if (!first) return;
    if (others.length === 0) throw first;
    const clauses = this.found.map(({ message }) => message.replace(/\.$/, ''));
    throw new SdaError(first.code, `${clauses.join('; and ')}.`, {
      cause: new AggregateError(this.found),
    });
  }
}

/** The single problems of an error that {@link Problems} threw; of any other, the error itself. */
export function problemsIn(error: SdaError): readonly SdaError[] {
  return error.cause instanceof AggregateError ? (error.cause.errors as SdaError[]) : [error];
}
