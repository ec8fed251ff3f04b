import { onTestFinished } from 'vitest';
import {
  type Behaviour,
  type JudgeServer,
  startJudgeServer,
} from '../../src/evaluate/stub-server.js';

export * from '../../src/evaluate/stub-server.js';

/** A key that must not be seen anywhere, and a response that is judged. */
export const KEY = 'sekrit/key+0123456789';
export const INPUT = {
  query: 'How are you?',
  response: 'Well, thank you.',
  core: 'empathy',
} as const;

/** A server that answers as `script` says, until the test ends. */
export async function judgeServer(...script: readonly Behaviour[]): Promise<JudgeServer> {
  const server = await startJudgeServer(...script);
  onTestFinished(() => server.close());
  return server;
}
