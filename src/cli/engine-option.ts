import { type Command, InvalidArgumentError } from 'commander';
import type { RemoteEngine } from '../engine/open-model.js';
import { SdaError } from '../errors.js';

export interface EngineOptions {
  readonly engine?: Pick<RemoteEngine, 'kind' | 'baseUrl'>;
  readonly engineModel?: string;
  readonly engineKeyEnv?: string;
}

const MEANING =
  'a vLLM with sda-vllm (docs/vllm.md) draws the tokens, and --model gives config, tokenizer and template alone (default: those that the server offers); logprobs:URL takes any server of all log-probabilities, megabytes and about a second a token: for checks';

/** Adds the options of a model that runs behind a server; see `engineOf`. */
export function addEngineOption(command: Command, meaning = MEANING): Command {
  return command
    .option('--engine <url>', meaning, engineAddress)
    .option(
      '--engine-model <name>',
      'the name that the server has for the model (default: its only one)',
    )
    .option(
      '--engine-key-env <name>',
      "environment variable with the server's key (default: VLLM_API_KEY, where it is set)",
    );
}

/** Options of a model that is loaded here, which say nothing to a server. */
interface LocalOptions {
  readonly dtype?: string;
  readonly adapter?: readonly unknown[];
  readonly tieMissingHead?: boolean;
  readonly with?: object;
}

/**
 * The engine of the options; undefined: this machine.
 *
 * @throws SdaError `usage` for options that would be ignored
 */
export function engineOf(options: EngineOptions & LocalOptions): RemoteEngine | undefined {
  const { dtype = 'auto', adapter = [], tieMissingHead } = options;
  const local = [
    ...(dtype === 'auto' ? [] : ['--dtype']),
    ...(adapter.length === 0 ? [] : ['--adapter']),
    ...(tieMissingHead ? ['--tie-missing-head'] : []),
    ...(options.with ? ['--with'] : []),
  ];
  if (options.engine && local.length > 0) {
    throw new SdaError(
      'usage',
      `${local[0]} is for a model that is loaded here, but --engine has it run by a server: leave one of them out.`,
    );
  }
  if (!options.engine && (options.engineModel ?? options.engineKeyEnv) !== undefined) {
    throw new SdaError(
      'usage',
      '--engine-model and --engine-key-env need a server: give --engine.',
    );
  }
  const { engine, engineModel: model, engineKeyEnv: apiKeyEnv } = options;
  return engine && { ...engine, model, apiKeyEnv };
}

function engineAddress(text: string): Pick<RemoteEngine, 'kind' | 'baseUrl'> {
  const [, kind = 'vllm', baseUrl = ''] = /^(?:(vllm|logprobs):)?(https?:\/\/.+)$/.exec(text) ?? [];
  if (baseUrl === '') {
    throw new InvalidArgumentError('Expected an address such as http://127.0.0.1:8000/v1.');
  }
  return { kind: kind as RemoteEngine['kind'], baseUrl };
}
