/** Reads an answer, or a batch of them, to its end: its steps, and what it returns, its summary. */
export async function readAll<Step, Summary>(
  answer: AsyncGenerator<Step, Summary>,
): Promise<{ steps: Step[]; summary: Summary }> {
  const steps: Step[] = [];
  for (;;) {
    const { value, done } = await answer.next();
    if (done) return { steps, summary: value };
    steps.push(value);
  }
}

/** The summary alone. */
export async function summaryOf<Summary>(
  answer: AsyncGenerator<unknown, Summary>,
): Promise<Summary> {
  return (await readAll(answer)).summary;
}
