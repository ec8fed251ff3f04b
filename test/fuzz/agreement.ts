import { expect } from 'vitest';
import { inspect } from '../../src/cli/inspect.js';
import { inspectionText } from '../../src/cli/inspection.js';
import { SdaError } from '../../src/errors.js';
import { loadModel } from '../../src/generate/sda-model.js';

/**
 * Expects of a folder that `sda inspect` says "ready to run" where all of it loads, and nowhere else.
 *
 * @param lap called between the two
 */
export async function expectAgreement(dir: string, lap?: () => void): Promise<void> {
  const said = await saidOf(dir);
  lap?.();
  const error = await errorOf(() => loadAll(dir));
  const ready = said.trimEnd().endsWith('ready to run');
  expect(ready, `${said}\nloading: ${error?.message ?? 'succeeds'}`).toBe(error === null);
}

async function saidOf(dir: string): Promise<string> {
  try {
    return inspectionText(await inspect({ model: dir, batch: 1, streams: 2, kv: 'float32' }));
  } catch (error) {
    if (error instanceof SdaError) return error.message;
    throw error;
  }
}

/** Loads a model with its tokenizer and template, where it has them, and puts a question to both. */
async function loadAll(dir: string): Promise<void> {
  const model = await loadModel(dir);
  try {
    const tokenizer = await model.tokenizer().catch((error: unknown) => {
      if (error instanceof SdaError && error.code === 'file-missing') return null; // ids alone
      throw error;
    });
    const template = await model.chatTemplate();
    const text = template?.render([{ role: 'user', content: 'Hello' }]) ?? 'Hello';
    tokenizer?.encodeSegments([{ text, literal: false }]);
  } finally {
    model.dispose();
  }
}

async function errorOf(body: () => Promise<void>): Promise<SdaError | null> {
  try {
    await body();
    return null;
  } catch (error) {
    if (error instanceof SdaError) return error;
    throw error;
  }
}
