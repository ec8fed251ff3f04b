import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { type Checkpoint, folderProblem, openCheckpoint } from '../checkpoint/checkpoint.js';
import type { SdaError } from '../errors.js';
import { loadConfig, loadConfigFile, type ModelConfig } from './config.js';
import { type CheckedTensors, checkTensors } from './families.js';
import { type HubWeights, openHub } from './hub/open.js';
import { type HubSettings, hubSettings } from './hub/settings.js';
import { Problems } from './problems.js';
import { refuseQuantisedConfig } from './quantised.js';

/** Options of {@link examineFolder}. */
export interface ExamineOptions {
  /** Use the embedding as head where config.json says untied and `lm_head.weight` is missing; default false. */
  readonly tieMissingHead?: boolean | undefined;
}

/** What a model folder holds, as far as its config and the headers of its weights tell; null where they cannot. */
export interface ModelFolder {
  readonly config: ModelConfig | null;
  /** The caller closes it. Weights that are quantised as others do it are float32. */
  readonly checkpoint: Checkpoint | null;
  /** These weights; null where there are none */
  readonly hub: HubWeights | null;
  /** What a config.json alone says of them */
  readonly settings: HubSettings | null;
  readonly checked: CheckedTensors | null;
  /** What is odd but harmless, each a sentence for people. */
  readonly warnings: readonly string[];
  /** What keeps the model from being loaded; none where all of the above is there. */
  readonly problems: readonly SdaError[];
  /** Whether one of the problems is that its weights are in a format that is read after an import, or not at all. */
  readonly foreign: boolean;
}

/** A folder without problems. */
export type SoundFolder = ModelFolder & {
  readonly [K in 'config' | 'checkpoint' | 'checked']: NonNullable<ModelFolder[K]>;
};

const NOTHING: ModelFolder = {
  config: null,
  checkpoint: null,
  hub: null,
  settings: null,
  checked: null,
  warnings: [],
  problems: [],
  foreign: false,
};

/** Reads a folder's config and the headers of its weights and holds them against each other; finds every problem. */
export async function examineFolder(
  dir: string,
  options: ExamineOptions = {},
): Promise<ModelFolder> {
  const bare = !existsSync(join(dir, 'config.json'));
  const unread = bare ? await folderProblem(dir) : null;
  if (unread) return { ...NOTHING, problems: [unread], foreign: true };
  const problems = new Problems();
  const config = await problems.attemptAsync(() => loadConfig(dir));
  const stored = await problems.attemptAsync(() => openCheckpoint(dir));
  const other = stored ? null : await folderProblem(dir);
  const tieMissingHead = options.tieMissingHead === true;
  const file = join(dir, 'config.json');
  const hub =
    config && stored && (await problems.attemptAsync(() => openHub(config, stored, file)));
  const checkpoint = hub ? hub.as('F32') : stored;
  const checked =
    config && checkpoint && hub !== undefined
      ? problems.attempt(() =>
          checkTensors(config, checkpoint.tensors, dir, {
            tieMissingHead,
            dequantised: hub !== null,
          }),
        )
      : null;
  return {
    config: config ?? null,
    checkpoint: checkpoint ?? null,
    hub: hub ?? null,
    settings: null,
    checked: checked ?? null,
    warnings: [...(checkpoint?.warnings ?? []), ...(checked?.warnings ?? [])],
    problems: problems.all,
    foreign: problems.all.some(({ message }) => message === other?.message),
  };
}

/** The same of a config.json alone, under any name: what is quantised by its word, and not to be read, is a problem. */
export async function examineConfig(file: string): Promise<ModelFolder> {
  const problems = new Problems();
  const config = await problems.attemptAsync(() => loadConfigFile(file));
  const settings = config && problems.attempt(() => settingsOf(config, file));
  return {
    ...NOTHING,
    config: config ?? null,
    settings: settings ?? null,
    problems: problems.all,
  };
}

function settingsOf(config: ModelConfig, file: string): HubSettings | null {
  const { quantisation: method, quantisationConfig: raw } = config;
  const settings = method !== null && raw !== null ? hubSettings(method, raw, file) : null;
  if (!settings) refuseQuantisedConfig(method, file);
  return settings;
}

/**
 * The same for a folder that is to be loaded.
 *
 * @throws SdaError with all problems in one sentence, and the code of the first
 */
export async function openFolder(dir: string, options: ExamineOptions = {}): Promise<SoundFolder> {
  const folder = await examineFolder(dir, options);
  try {
    new Problems([...folder.problems]).throwIfAny();
    return folder as SoundFolder;
  } catch (error) {
    await folder.checkpoint?.close();
    throw error;
  }
}
