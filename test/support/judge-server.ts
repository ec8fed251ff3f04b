import { onTestFinished } from 'vitest';
import {
  type Behaviour,
  type JudgeServer,
  startJudgeServer,
} from '../../src/evaluate/stub-server.js';

export * from '../../src/evaluate/stub-server.js';

/** A server that answers as `script` says, until the test ends. */
export async function judgeServer(...script: readonly Behaviour[]): Promise<JudgeServer> {
  const server = await startJudgeServer(...script);
  onTestFinished(() => server.close());
  return server;
}
