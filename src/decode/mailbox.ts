/** What one side puts in and the other takes out, in order. */
export class Mailbox<T> {
  private readonly items: T[] = [];
  private over = false;
  private failure: { readonly error: unknown } | undefined;
  private wake: (() => void) | undefined;

  /** @param isLast nothing comes after it */
  put(item: T, isLast = false): void {
    if (this.over) return;
    this.items.push(item);
    this.over = isLast;
    this.wake?.();
  }

  /** Lets the reader throw, once it has taken all. */
  fail(error: unknown): void {
    this.failure = { error };
    this.end();
  }

  /** Nothing more comes. */
  end(): void {
    this.over = true;
    this.wake?.();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<T, void> {
    for (;;) {
      const item = this.items.shift();
      if (item !== undefined) {
        yield item;
        continue;
      }
      if (this.failure) throw this.failure.error;
      if (this.over) return;
      await new Promise<void>((resolve) => {
        this.wake = resolve;
      });
      this.wake = undefined;
    }
  }
}
