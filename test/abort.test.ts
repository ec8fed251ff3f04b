import { expect, test } from 'vitest';
import { onAbort } from '../src/abort.js';

test('all who listen to a signal hear it once, but those who have ended it', () => {
  const controller = new AbortController();
  const heard: number[] = [];
  const leave = [0, 1, 2].map((who) => onAbort(controller.signal, () => heard.push(who)));
  leave[1]!();
  controller.abort();
  controller.abort();
  expect(heard).toEqual([0, 2]);
});

test('a signal that has fired is heard at once, and none never', () => {
  let heard = 0;
  onAbort(AbortSignal.abort(), () => heard++);
  onAbort(undefined, () => heard++)();
  expect(heard).toBe(1);
});

test('Node takes many who listen to one signal for no leak', async () => {
  const warnings: Error[] = [];
  const note = (warning: Error) => warnings.push(warning);
  process.on('warning', note);
  const { signal } = new AbortController();
  for (let who = 0; who < 50; who++) onAbort(signal, () => {});
  await new Promise((resolve) => setImmediate(resolve));
  process.off('warning', note);
  expect(warnings).toEqual([]);
});
