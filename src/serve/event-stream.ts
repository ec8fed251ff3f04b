/**
 * Objects as server-sent events, as OpenAI's servers write them: each as it comes, then `[DONE]`. An error after the
 * beginning is an event of its own.
 *
 * @param signal fires where the client leaves; then the events are left, too
 * @param told an error as it is sent
 */
export function eventStream(
  events: AsyncGenerator<object, void>,
  signal: AbortSignal,
  told: (error: unknown) => object,
): Response {
  const bytes = new TextEncoder();
  const line = (text: string) => bytes.encode(`data: ${text}\n\n`);
  const stream = new ReadableStream<Uint8Array>({
    async pull(controller) {
      try {
        const { value, done } = await events.next();
        if (!done) return controller.enqueue(line(JSON.stringify(value)));
      } catch (error) {
        if (!signal.aborted) controller.enqueue(line(JSON.stringify(told(error))));
      }
      if (!signal.aborted) controller.enqueue(line('[DONE]'));
      controller.close();
    },
    async cancel() {
      await events.return();
    },
  });
  return new Response(stream, {
    headers: {
      'content-type': 'text/event-stream; charset=utf-8',
      'cache-control': 'no-cache',
      'x-accel-buffering': 'no', // proxies are not to hold tokens back
    },
  });
}
