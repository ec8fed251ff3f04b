import { folderOf, type RemoteEngine } from '../engine/open-model.js';
import { SdaError } from '../errors.js';
import type { ExperimentConfig } from './config.js';

/** The engine of a configuration, where it is behind a server. */
export function remoteEngine({ engine }: ExperimentConfig): RemoteEngine | undefined {
  if (!engine || engine.kind === 'local') return undefined;
  return {
    kind: engine.kind,
    baseUrl: engine.base_url!,
    model: engine.model,
    apiKeyEnv: engine.api_key_env,
    patienceS: engine.patience_s,
  };
}

/**
 * That nothing is asked of a server which it would not do.
 *
 * @throws SdaError `bad-input`
 */
export function checkEngine(config: ExperimentConfig): void {
  const { model, models } = config;
  if (!remoteEngine(config)) return;
  const adapters = (model.adapters?.length ?? 0) > 0;
  if (!adapters && !models) return;
  throw new SdaError(
    'bad-input',
    `The configuration has ${adapters ? 'adapters of the model' : 'other models'}, but its engine runs one model as the server has loaded it: leave one of them out.`,
  );
}

/**
 * The folder of the model: the configuration's, or what its server offers. Scores that the model gives need weights here:
 * then it is the default one, of which it is checked that the server has the same.
 */
export async function modelDirOf(
  config: ExperimentConfig,
  { defaultModel, signal }: { defaultModel: string; signal?: AbortSignal | undefined },
): Promise<string> {
  const { model, evaluator } = config;
  const engine = remoteEngine(config);
  if (model.dir !== undefined) return model.dir;
  return engine && evaluator.kind !== 'intrinsic' ? folderOf(engine, signal) : defaultModel;
}
