import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { holdsForeignWeights } from '../checkpoint/other-formats.js';
import { SdaError } from '../errors.js';
import type { AnsweringModel, LoadOptions, RemoteEngine, SdaModel } from '../index.js';
import { defaultModelDir } from '../runtime/paths.js';
import { note, warn } from './output.js';
import { LiveLine } from './terminal.js';

/**
 * Loads a model with its progress on a terminal's stderr and its warnings as lines there.
 *
 * @throws SdaError `file-missing` when there is no such model, with what to do; else what `loadModel` throws
 */
export async function openModel(dir: string, options: LoadOptions): Promise<SdaModel> {
  requireModelDir(dir);
  const { loadModel } = await import('../index.js');
  const live = new LiveLine();
  try {
    const { describePlan } = await import('../model/memory-plan.js');
    const model = await loadModel(dir, {
      ...options,
      onPlan: (plan) => {
        if (process.stderr.isTTY === true) note(describePlan(plan));
      },
      onProgress: ({ bytesRead, bytesTotal }) =>
        live.show(`loading ${dir}: ${Math.round((100 * bytesRead) / bytesTotal)}%`),
    });
    for (const warning of model.warnings) warn(warning);
    return model;
  } finally {
    live.clear();
  }
}

/**
 * Opens a model behind a server, or here; see `openModel`.
 *
 * @param dir null: the texts that the server offers, or the default model here
 * @throws SdaError as `openModel`
 */
export async function openAnywhere(
  dir: string | null,
  options: LoadOptions,
  engine: RemoteEngine | undefined,
): Promise<AnsweringModel> {
  if (!engine) return openModel(dir ?? defaultModelDir(), options);
  if (dir !== null) requireModelDir(dir);
  const { openModel: open } = await import('../index.js');
  const model = await open(dir, { ...options, engine });
  for (const warning of model.warnings) warn(warning);
  return model;
}

/**
 * @param advice what to do about it
 * @throws SdaError `file-missing` where `dir` is no model folder, in no format that is known
 */
export function requireModelDir(
  dir: string,
  advice = 'run "npm run weights" for the default model, or give the folder of another with --model',
): void {
  if (existsSync(join(dir, 'config.json')) || holdsForeignWeights(dir)) return;
  const found = existsSync(dir) ? 'has no config.json' : 'does not exist';
  throw new SdaError('file-missing', `The model folder ${dir} ${found}: ${advice}.`);
}

/** Runs `body` with a signal that fires on Ctrl-C and SIGTERM; a second one ends the process at once. */
export async function withInterrupt<T>(body: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const controller = new AbortController();
  const interrupt = () => {
    if (controller.signal.aborted) process.exit(130);
    controller.abort();
  };
  process.on('SIGINT', interrupt);
  process.on('SIGTERM', interrupt);
  try {
    return await body(controller.signal);
  } finally {
    process.off('SIGINT', interrupt);
    process.off('SIGTERM', interrupt);
  }
}
